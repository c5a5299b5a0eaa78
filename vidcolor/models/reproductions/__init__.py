"""The nine published systems that this project reproduces."""
