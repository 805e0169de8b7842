"""Public checks of systems, indexes, data sets and metrics."""

from diptych.testing.checks import check_system
from diptych.testing.parts import check_dataset, check_index, check_metric

__all__ = ["check_dataset", "check_index", "check_metric", "check_system"]
