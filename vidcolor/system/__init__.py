"""The machine: threads, devices, memory, files and OpenCV."""
