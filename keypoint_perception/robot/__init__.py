"""What a recording knows of its robot: description, joint states, transforms, and the camera."""
