"""Which models there are, and how far each has come."""
