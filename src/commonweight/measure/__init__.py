"""Reading models and their training: records, layer statistics, diagnosis, report."""

from commonweight.measure.diagnosis import diagnose
from commonweight.measure.watching import watch

__all__ = ["diagnose", "watch"]
