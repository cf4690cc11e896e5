"""Advice from the operation log: how big, which policy, which times to live, what not to cache, and why."""
