"""`trigger_sdk.testing.run` in the test's own process, for tests that count effects in lists of their own."""

import functools

from trigger_sdk import testing

run = functools.partial(testing.run, in_process=True)
