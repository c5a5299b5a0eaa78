"""What a training leaves behind: figures, plots and tables."""
