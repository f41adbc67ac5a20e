"""Shards to task batches: which sample is in which global batch, and every random choice about it."""
