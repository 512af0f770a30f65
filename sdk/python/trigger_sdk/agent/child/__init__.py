"""The process of a run: its connection, what it receives and sends, and what is left when the run has ended."""
