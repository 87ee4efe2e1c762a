"""Benchmarks of the ROS nodes, which run as processes beside cameras and receivers."""
