"""Hypothesis without a clock, and the same examples on every run of CI."""

import os

from hypothesis import settings

settings.register_profile("soup", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("soup")
