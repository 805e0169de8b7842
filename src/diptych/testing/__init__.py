"""Public checks of systems, indexes, data sets and metrics."""
