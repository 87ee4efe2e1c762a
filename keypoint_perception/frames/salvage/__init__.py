"""Readers of damaged and unfinished recordings."""
