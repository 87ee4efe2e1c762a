"""Benchmarks of learning, inference, the ROS nodes and extraction, behind one command each."""
