"""Recordings -> stamped frames."""
