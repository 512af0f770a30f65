"""The process of a run: its connection, what it is given and asked, and what is left when the run has ended."""
