"""What pyinfra reads first."""

import atexit
import gc

REQUIRE_PYINFRA_VERSION = ">=3.10,<4"

# Python looks through all that it has loaded for cycles before it ends, for 50 ms, and nothing here waits for that.
atexit.register(gc.freeze)
