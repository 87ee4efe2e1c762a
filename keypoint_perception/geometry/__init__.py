"""Cameras and space, without ROS: camera model, depth, lifting to 3-D, temporal filters."""
