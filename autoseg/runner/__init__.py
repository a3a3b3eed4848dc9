"""Runs models that `autoseg export --onnx` wrote, with NumPy and onnxruntime alone (nibabel for files).

    from autoseg.runner import load

    model = load("EXPORTED")
    labels = model.predict(array, spacing_mm=(3.0, 0.8, 0.8))
    probabilities = model.predict_probabilities(array, spacing_mm=(3.0, 0.8, 0.8))  # calibrated

An exported folder holds a copy of these modules, so it runs where autoseg is not installed.
"""

from autoseg.runner.model import ExportedModel, load

__all__ = ["ExportedModel", "load"]
