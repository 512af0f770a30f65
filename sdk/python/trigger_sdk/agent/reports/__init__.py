"""What is told of a run: the lines that it prints, and what it raised."""
