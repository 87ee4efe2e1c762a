"""Camera model, depth, lifting to 3-D and temporal filters, without ROS."""
