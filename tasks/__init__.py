"""How a host gets there: one subsystem a file, in pyinfra's operations."""
