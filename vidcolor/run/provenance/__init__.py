"""What outputs say of their origin: marks, signatures and dossiers."""
