"""Arrays and space, without torch: reading, writing, resampling, intensities, metrics, the store."""
