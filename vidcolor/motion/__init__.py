"""Change from frame to frame: optical flow, shot boundaries, temporal filter of the chroma."""
