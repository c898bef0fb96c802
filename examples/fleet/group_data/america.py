"""What differs in America."""

timezone = "America/New_York"
