"""Benchmarks of learning: objectives side by side, quality over time, speed of a step."""
