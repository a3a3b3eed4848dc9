"""Tables of the challenges that can be run as benchmarks."""
