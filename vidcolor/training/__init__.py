"""Training: recipes, data, losses, the loop and its checkpoints. Knows nothing of the CLI."""
