"""What lives on the host: the verbs of a Baïkal server, and the one list of its settings."""
