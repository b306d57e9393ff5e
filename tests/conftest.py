"""Hypothesis without a clock, and the same examples on every run of CI."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.faults.ground import Ground

settings.register_profile("soup", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("soup")


@pytest.fixture(autouse=True)
def _same_environment() -> Iterator[None]:
    """What a worker of a sweep sets for its process is not for the tests that follow."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Ground]":
    """Projects whose flows are forked from a warm process and recorded by one Prefect server.

    Starting a flow costs no imports, and starting no server: for tests that are not about either.
    """
    from tests.faults.ground import ground
    from tests.gates import PATIENT

    with ground(tmp_path_factory.mktemp("ground"), **PATIENT) as made:
        yield made
