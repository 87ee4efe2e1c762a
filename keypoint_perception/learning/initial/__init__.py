"""What a run begins with: weights, and keypoints before the first step."""
