"""Data sets: known ones by name, and readers for the forms in which people keep their own."""
