"""Whether calibration, quality estimate and suspect labels keep what they promise, on hippocampus out of fold."""
