"""What pyinfra reads first."""

REQUIRE_PYINFRA_VERSION = ">=3.10,<4"
