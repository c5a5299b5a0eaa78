"""A run with several workers: on this machine's devices, or on a Ray cluster."""
