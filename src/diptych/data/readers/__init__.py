"""Readers for the forms in which people keep pictures, captions and features.

Each module says in `FORM` what it reads, in `recognises(path)` whether a path looks like it, and `read(path)`
returns it as a data set.
"""
