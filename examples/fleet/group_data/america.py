"""Settings of the hosts in America."""

timezone = "America/New_York"
