"""What one prediction goes through."""
