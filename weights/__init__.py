"""The shipped weights: `vidcolor.weights_data` in an installed package. Holds no code."""
