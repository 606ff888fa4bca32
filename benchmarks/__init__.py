"""Measures this service beside its peers, with the same models, rows and number of workers.

`python -m benchmarks --help` says what it can do; docs/benchmarks.md explains what it measures.
"""
