"""A module that cannot be imported."""

raise RuntimeError("no GPU\nwas found")
