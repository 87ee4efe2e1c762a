"""
The node that publishes keypoints.

The path of an image, each step in the file of the same name:

    image_input        subscription of one camera, serialised bytes; geometry_input: camera_info
                       and depth of the same camera
    camera             reads the header, queues the image
    inference_worker   the newest image of each camera, older ones are dropped; the inference
                       thread, which takes the newest images of all cameras
    pipeline           opens the images, runs the engine once for all of them
    camera             locates the keypoints in space and time (geometry.point_locator)
    camera_publishers  clouds of keypoints and landmarks, overlay, markers

Around it, in the executor's thread:

    lifecycle_node     the node: its states, and what connects the parts
    engine_supervisor  loads the engine and monitors it (engine_loading), swaps it, replaces one
                       that hangs or fails
    node_parameters    the parameters; live_parameters applies changes
    services           ~/enable, ~/reload, ~/start_recording, ~/stop_recording
    diagnostics        /diagnostics, of the counters and latencies in node_statistics
"""
