"""What runs in the processes of a model, and in the one that looks after them."""
