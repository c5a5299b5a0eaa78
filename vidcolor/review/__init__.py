"""Compare results with their originals: find what needs a look, show both on a page, side by side."""
