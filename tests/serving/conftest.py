"""A model that is served, and a client of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from soup.serving.app import application
from soup.serving.classifier import Classifier
from tests import text_worlds
from tests.serving.worlds import HOSTS, LIMITS
from tests.worlds import put, tiny


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier(put(tmp_path_factory.mktemp("soup"), tiny(seed=4)))


@pytest.fixture
def client(classifier: Classifier) -> Iterator[TestClient]:
    with TestClient(application(classifier, LIMITS, HOSTS), "http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="session")
def text_soup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model of texts, with random weights."""
    return text_worlds.soup(tmp_path_factory.mktemp("text"))
