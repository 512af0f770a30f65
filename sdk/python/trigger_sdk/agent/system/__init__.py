"""What the agent asks of the operating system: processes, their surroundings, memory, and what they leave behind."""
