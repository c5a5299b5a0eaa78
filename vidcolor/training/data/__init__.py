"""Training data: picture sets, splits, augmentation and loading."""
