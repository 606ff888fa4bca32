"""A reusable Django app that serves `ml_base` models behind a REST API."""
