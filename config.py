"""pyinfra loads this file first, from the directory that it is called in."""

import atexit
import gc
import os

from pyinfra.api.state import MAX_PARALLEL
from pyinfra.context import config

from tasks.command_line import refuse_mistakes
from tasks.pyinfra_internals.process import read_call_stack_cheaply
from tasks.terminal import escape_all_output

config.REQUIRE_PYINFRA_VERSION = ">=3.10,<4"

escape_all_output()  # before any host has answered
refuse_mistakes()
read_call_stack_cheaply()

# The number of hosts that pyinfra works on at a time; --parallel overrides it. pyinfra's default is 20 for each core,
# but most of the time is waiting. With many more than 100, the last host would wait so long for its log-in (25 ms of
# this machine's time each) that SSH's time limit is over.
config.PARALLEL = min(max(100, 20 * (os.cpu_count() or 1)), MAX_PARALLEL)

# Before it ends, Python searches all loaded objects for cycles. That takes 50 ms, and nothing here needs it.
atexit.register(gc.freeze)
