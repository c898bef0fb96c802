"""The peers: the same server, written as users of other tools would write it, and their input."""
