"""The fault campaign: what becomes of runs that are killed, starved, tricked or fed with garbage."""
