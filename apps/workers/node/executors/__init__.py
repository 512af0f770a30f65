"""How a node gives an attempt a process: one interface, one module per executor."""
