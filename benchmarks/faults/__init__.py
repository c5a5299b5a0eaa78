"""The fault campaign: runs that are killed, starved, tricked or fed with garbage."""
