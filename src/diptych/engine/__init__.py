"""Collections of pictures and texts: opened, filled, kept current, searched, wherever they live."""
