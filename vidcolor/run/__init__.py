"""A run: its settings, its plan, the colorizer, and the stages of films and pictures."""
