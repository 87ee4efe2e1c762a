"""What is measured of this package: learning, extraction, engines, node and recorder."""
