"""Models on scikit-learn's bundled data sets, and decorators, to run and to copy from."""
