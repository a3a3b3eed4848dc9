"""Prediction compared with nnU-Net's: seconds, peak memory and labels, with the same weights on the same cases."""
