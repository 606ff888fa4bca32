"""How a model's pydantic schemas are read."""
