"""What to get where weights cannot be fetched: by the hub's name, by address, or by file."""

from soup.errors import BadInput
from soup.models.download_errors import cannot_fetch


def test_a_file_of_a_repository_is_named_with_it() -> None:
    told = str(cannot_fetch("M", "t", {"hf_hub": "org/repo/w.bin"}, OSError("gone\nmore")))
    assert told.startswith("cannot fetch the weights 't' of M (OSError: gone). On a machine")
    assert "`hf download org/repo w.bin`" in told
    assert "HF_HOME" in told
    assert told.endswith("base.weights: FILE")


def test_a_whole_repository_is_named_alone_and_an_address_as_it_is() -> None:
    error = OSError("gone")
    assert "`hf download org/repo`" in str(cannot_fetch("M", "t", {"hf_hub": "org/repo/"}, error))
    address = {"url": "https://example.org/w.pt"}
    assert "download https://example.org/w.pt;" in str(cannot_fetch("M", "t", address, error))
    assert isinstance(cannot_fetch("M", "t", address, error), BadInput)
