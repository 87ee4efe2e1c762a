"""Pairs of frames -> a trained network."""
