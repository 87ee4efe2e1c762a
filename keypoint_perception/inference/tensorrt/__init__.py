"""The network compiled by TensorRT for an NVIDIA GPU: build, comparison, buffers, graphs."""
