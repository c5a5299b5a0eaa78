"""What a run does beside its work: its state, progress, report and files left behind."""
