"""Training: the verbs of a loop, what learns with them, and how a system is trained into a run folder."""
