"""Settings of the hosts in Europe."""

timezone = "Europe/Berlin"
