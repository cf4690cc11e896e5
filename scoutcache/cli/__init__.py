"""The command line: each command parses its options, calls one thing of the library, and prints what came back."""
