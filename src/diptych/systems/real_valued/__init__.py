"""Encoders of both sides into one real-valued space."""
