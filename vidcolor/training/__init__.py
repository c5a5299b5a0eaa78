"""Training: recipes, data, objectives, the training loop, checkpoints, results."""
