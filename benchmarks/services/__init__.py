"""What each server is given to serve the classifiers."""
