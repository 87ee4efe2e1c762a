"""From images to keypoints; each engine has its own file and heavy library."""
