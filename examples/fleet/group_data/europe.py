"""What differs in Europe."""

timezone = "Europe/Berlin"
