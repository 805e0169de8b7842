"""A collection in a folder of its own: one SQLite file, and search files that can be made again from it."""
