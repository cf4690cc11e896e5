"""Other people's libraries, served by a cache.  Each module needs its library, and is imported by whoever has it."""
