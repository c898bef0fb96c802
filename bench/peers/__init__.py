"""The peers: the same server, written as the users of other tools would write it, and what they are given."""
