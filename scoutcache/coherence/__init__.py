"""What processes tell each other: messages and what they hit.  No I/O: channels carry the bytes."""
