"""Queues on disk: what was acknowledged to a caller and has not reached its source yet."""
