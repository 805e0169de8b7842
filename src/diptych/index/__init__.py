"""Indexes: vectors under row numbers that can be searched."""
