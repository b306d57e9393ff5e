"""What tests of the flows share."""

import pytest

from tests.flows.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()
