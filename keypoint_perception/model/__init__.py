"""The keypoint network, its checkpoints and its ONNX export."""
