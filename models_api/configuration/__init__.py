"""The YAML file: its keys, and what is wrong with it."""
