"""The agent's calls to the operating system: processes, their surroundings, memory, and what they leave behind."""
