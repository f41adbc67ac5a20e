"""Figures from texts: scores with the signature of how they came about. None needs a model."""
