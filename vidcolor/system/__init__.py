"""Threads, devices, memory, OpenCV and files that appear whole."""
