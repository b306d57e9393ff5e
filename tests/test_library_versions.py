"""What is kept between runs is known by the versions of the libraries that compute it, too."""

from importlib import metadata

import pytest

from soup import files
from soup.data.loading.images import digest as of_pictures
from soup.data.text.tokens import digest as of_tokens
from soup.evaluation.prediction_cache import digest_of_logits
from soup.models import Architecture
from soup.models.transforms import image_input
from tests.checkouts import REPO

MODEL = Architecture("timm", "resnet10t", ("a", "b"), 32)
KEYS = {
    "pillow": lambda: of_pictures([], REPO, "as it is"),
    "torchvision": lambda: image_input(MODEL).name,
    "timm": lambda: digest_of_logits("weights", "examples", MODEL, "cpu", []),
    "tokenizers": lambda: of_tokens([], REPO, "a tokenizer"),
}


@pytest.mark.parametrize("library", KEYS)
def test_another_version_of_a_library_gives_another_key(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = metadata.version
    before = KEYS[library]()
    assert KEYS[library]() == before
    files.of_libraries.cache_clear()
    monkeypatch.setattr(metadata, "version", lambda n: "0" if n == library else known(n))
    assert KEYS[library]() != before
    files.of_libraries.cache_clear()


def test_a_library_that_was_installed_in_another_way_has_no_version() -> None:
    assert files.of_libraries("pillow-simd-of-ours") == "pillow-simd-of-ours "
