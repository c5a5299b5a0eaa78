"""Optical flow, shot cuts, and the filter that keeps colors in place."""
