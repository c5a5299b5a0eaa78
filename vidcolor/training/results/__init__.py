"""Results of a training: measures, plots and tables."""
