"""Find the shots of a film, write stills of them to color, and check the colored ones."""
