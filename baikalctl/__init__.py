"""The program on the host: the commands of a Baïkal server, and the definitions of all settings."""
