"""Compare results with their originals: find what needs a look, and show both."""
