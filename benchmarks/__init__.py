"""What vidcolor costs. `python -m benchmarks` does it all; README.md explains it."""
