"""What a third party adds: one of each kind of part, each a file."""
