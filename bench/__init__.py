"""Benchmarks: compare this project with its peers, for the same result, with one command (``make bench``)."""
