"""What pyinfra reads first."""

import atexit
import gc
import os

from pyinfra.api.state import MAX_PARALLEL
from pyinfra.context import config

from tasks.pyinfra_internals.process import read_call_stack_cheaply
from tasks.terminal import escape_all_output

config.REQUIRE_PYINFRA_VERSION = ">=3.10,<4"

# Before the first word of a host.
escape_all_output()
read_call_stack_cheaply()

# Hosts at a time. They are mostly waited for, so a hundred where pyinfra's 20 for each core are fewer; --parallel says
# otherwise. With many more, the last of them would wait for its turn in a log-in (25 ms of this machine each) until
# SSH's limits are up.
config.PARALLEL = min(max(100, 20 * (os.cpu_count() or 1)), MAX_PARALLEL)

# Python looks through all that it has loaded for cycles before it ends, for 50 ms, and nothing here waits for that.
atexit.register(gc.freeze)
