"""The benchmarks: this project beside its peers, for the same end state, in one command (``make bench``)."""
