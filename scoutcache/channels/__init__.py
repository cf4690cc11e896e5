"""How messages travel between processes: the journal of one machine."""
