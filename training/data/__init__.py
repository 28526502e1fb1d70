"""Which images a run sees, in which order, and how they get from a file into a batch."""
