"""Reference pictures and colored stills: where they lie, and what they say of color."""
