"""Looking into networks and trainings."""

from numbanet.inspect.curves import plot_curves
from numbanet.inspect.summary import summary

__all__ = ["plot_curves", "summary"]
