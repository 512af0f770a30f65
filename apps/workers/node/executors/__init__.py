"""Executors give attempts their processes: one interface, one module per executor."""
