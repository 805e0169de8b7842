"""What a third party adds: a system, a data set and a feature extractor, each a file."""
