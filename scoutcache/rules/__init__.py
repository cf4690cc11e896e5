"""Which rules something sets off, and what they then hit: decisions only, nothing is removed here."""
