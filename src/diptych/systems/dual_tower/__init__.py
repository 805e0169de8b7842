"""Systems with a tower for each side."""
