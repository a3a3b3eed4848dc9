"""Runs models that `autoseg export --onnx` wrote, with NumPy and onnxruntime alone (nibabel for files).

    from autoseg.runner import load

    labels = load("EXPORTED").predict(array, spacing_mm=(3.0, 0.8, 0.8))

An exported folder holds a copy of these modules, so it runs where autoseg is not installed.
"""

from autoseg.runner.model import ExportedModel, load

__all__ = ["ExportedModel", "load"]
