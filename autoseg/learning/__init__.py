"""Networks, training and inference: the only layer that imports torch."""
