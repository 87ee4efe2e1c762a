"""The network compiled by TensorRT for an NVIDIA GPU: build, parity, cache, buffers, graphs."""
