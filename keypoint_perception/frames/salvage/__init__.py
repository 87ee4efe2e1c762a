"""Readers of damaged and unfinished recordings: what lies before the damage."""
