"""Server processes and clients, for the benchmarks and for the tests that run real servers.

Needs nothing but the standard library.
"""
