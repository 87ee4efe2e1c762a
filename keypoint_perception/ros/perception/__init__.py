"""The node that publishes keypoints: inputs, inference thread, engine, publishers, diagnostics."""
