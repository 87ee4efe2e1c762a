"""How good keypoints are, in numbers and in pictures."""
