"""`cache.semantic`: answers to queries that mean what an answered one meant."""
