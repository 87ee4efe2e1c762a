"""Videos of recordings with their keypoints."""
