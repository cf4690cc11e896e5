"""How messages travel between processes: by the journal of one machine, by the stream of a server, and by both."""
