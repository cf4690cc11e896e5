"""One module for each command, or for commands that do the same to other things; `table` says which."""
