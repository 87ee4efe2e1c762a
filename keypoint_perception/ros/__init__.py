"""
What needs ROS: the programs of the nodes, and what the nodes share.

``perception/`` holds the node that publishes keypoints, ``recorder/`` the one that records bags.
"""
