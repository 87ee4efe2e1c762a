"""The one network, its checkpoints and its ONNX form."""
