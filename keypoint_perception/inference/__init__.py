"""Images -> keypoints, with one file and one heavy library an engine."""
