"""
From an unlabelled rosbag to live keypoints on a robot.

One way down: bag -> frames -> pairs -> network -> objective -> checkpoint -> ONNX -> engine ->
estimator -> node -> message. The rooms on that way, and what each may import:

    root         errors, keypoints (the coordinate convention), encodings (pixel layouts),
                 compressed (JPEG, PNG), images (as they were sent -> RGB, and their fit to the
                 network), manifest (what an engine must know of its network), landmarks
                 (points with names of the user's own), drawing (overlays), sole_writer (one
                 process at a time writes a directory)
    frames/      bags, videos, folders -> stamped frames; the frame store; annotations
                 (imports root)
    model/       the one network, heatmaps, checkpoints, ONNX export (root)
    learning/    pairs, objectives (one paper, one file), configuration, the training loop
                 (root, frames, model)
    inference/   engines (one file and one heavy library each) and the estimator
                 (root; model in the torch engine only)
    evaluation/  metrics, overlay videos, the report (root)
    ros/         the nodes, parameters, message conversion, diagnostics
                 (root, inference; frames in the recorder only)
    commands/    one file a verb (all)

``test/test_rooms.py`` holds this table.
"""

__version__ = '0.1.0'
