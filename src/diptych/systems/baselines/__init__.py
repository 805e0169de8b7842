"""Closed forms, chance and plain heads: the floor that every other system is measured against."""
