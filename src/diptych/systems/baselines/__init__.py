"""Closed-form and untrained systems: the floor that every trained one is measured against."""
