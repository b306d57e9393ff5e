"""Hypothesis without a clock, and the same examples on every run of CI."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("soup", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("soup")


@pytest.fixture(autouse=True)
def _same_environment() -> Iterator[None]:
    """What a worker of a sweep sets for its process is not for the tests that follow."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
