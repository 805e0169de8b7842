"""The systems, one file each, in the folder of their family in the survey."""
