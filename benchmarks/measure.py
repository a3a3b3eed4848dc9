"""The package's way to measure a command, under the name that benchmarks know it by."""

from autoseg.core.measuring import Measured, measure

__all__ = ["Measured", "measure"]
