"""Building blocks that several systems share, one idea a file."""
