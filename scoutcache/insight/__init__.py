"""What happened, and what to do about it: ``stats``, ``explain`` and ``report``, for commands and programs."""
