"""Systems whose vectors are binary codes."""
