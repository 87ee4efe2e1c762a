"""
From an unlabelled rosbag to live keypoints on a robot.

Data flow: bag -> frames -> pairs -> network -> objective -> checkpoint -> ONNX -> engine ->
estimator -> node -> message. The folders, and what each may import:

    root         errors, faults (sentences for unexpected exceptions), limits (largest sizes that
                 are read), keypoints (the coordinate convention), encodings (pixel layouts),
                 image_headers (what image files claim), compressed (JPEG, PNG and other files),
                 cv_bridge_images (further encodings), grey_range (of 16-bit images), images (from
                 received images to the network input), model_directory (file names), manifest
                 (what an engine must know of its network), landmark_map (points named by the
                 user), drawing (overlays), settings (checked settings), cdr (serialised ROS
                 messages), point_cloud (keypoints as a message), episodes (where a recording is
                 interrupted), parity (differences between engines), atomic_files (files that
                 appear when they are complete, directories with one writer), json_files and
                 yaml_files (bounded in size and depth), opencv_files (names that OpenCV can open),
                 seen_messages (messages that are logged once), sampling, camera_topics (which
                 camera_info belongs to an image topic)
    frames/      bags, videos, folders -> stamped frames; the frame store; annotations
                 (imports root); salvage/ reads what is damaged
    model/       the one network, heatmaps, checkpoints, ONNX export (root)
    learning/    objectives (one paper, one file), configuration, the training loop; data/ makes
                 batches: pairs, warps, flow, labels; initial/ has what a run begins with,
                 self_training/ parts of the objective of that name (root, frames, model,
                 geometry)
    inference/   engines (one heavy library each) and the estimator; tensorrt/ compiles for GPUs
                 (root; model in the torch engine only)
    evaluation/  metrics, overlay videos, the report (root, geometry)
    geometry/    camera model, depth, lifting to 3-D, filters over time, how a camera moves, maps
                 from keypoints to landmarks, without ROS (root)
    robot/       what a recording knows of its robot: URDF, joint states, transforms, kinematics,
                 labels of links (root, frames, geometry)
    ros/         the programs, parameters, messages, QoS and launch parts (root, inference);
                 perception/ is the node that publishes keypoints (also geometry),
                 recorder/ the one that writes bags (root, frames)
    benchmarks/  every measurement of this package (all)
    commands/    one file per verb (all but benchmarks, which commands/benchmark forwards to)

``test/test_rooms.py`` enforces this table.
"""

__version__ = '0.1.0'
