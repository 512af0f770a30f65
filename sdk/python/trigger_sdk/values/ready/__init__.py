"""Types of well-known libraries. Each module imports its library; `register_types` is called when one is first met."""
