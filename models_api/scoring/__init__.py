"""Predictions for files of rows: read, predicted in parallel, written in order, resumable."""
