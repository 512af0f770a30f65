"""What is reported about a run: the lines it prints, and what it raised."""
