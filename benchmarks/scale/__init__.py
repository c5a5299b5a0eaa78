"""How vidcolor scales: real runs with one and two workers, and a simulation of up to 10,000."""
