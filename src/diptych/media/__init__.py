"""Pictures and the texts that belong to them, as they lie on disk: the one eye of everything that looks."""
