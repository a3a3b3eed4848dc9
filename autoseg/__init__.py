"""autoseg: a folder of labelled scans in, a trained model and segmentations out."""

__version__ = "0.1.0"
