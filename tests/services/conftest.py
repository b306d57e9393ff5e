"""`make services`, started once for all tests that only ask them."""

from collections.abc import Iterator

import pytest

from tests.services.started import Services, started


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """As they start where nothing is set: with an S3 only where rclone serves one."""
    with started(tmp_path_factory.mktemp("services")) as services:
        yield services
