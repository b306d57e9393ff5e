"""What `soup serve` is given, and what of it is refused before anything is opened."""

from pathlib import Path
from typing import Any

import pytest

from soup.cli.served_model import CACHE, checked, named
from soup.errors import BadInput
from soup.models.allowed_files import Refused
from soup.serving.signatures import sign
from soup.tracking import Store, save_pyfunc, version
from tests.cli.conftest import Command
from tests.registries import files_of, open_store, registered
from tests.serving.test_signatures import flip, keys
from tests.worlds import put, tiny


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shapes@champion", ("shapes", "champion")),
        ("shapes-soup/3", ("shapes-soup", "3")),
        ("models:/shapes@champion", ("shapes", "champion")),
        ("models:/a model/12", ("a model", "12")),
    ],
)
def test_a_registered_model_by_name(text: str, expected: tuple[str, str]) -> None:
    assert named(text) == expected


@pytest.mark.parametrize("text", ["shapes", "models:/m-123", "http://x/y@z", "a/b", "a/b/3", "@x"])
def test_what_names_no_version_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"there is no such folder; .* NAME@champion, or NAME/3"):
        named(text)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["nowhere"], "nowhere: there is no such folder; a registered model is given as"),
        ([__file__], "test_serve.py is a file: give the folder of a model, with its model.json"),
        (
            ["x@y", "--host", "0.0.0.0"],
            "listens at all addresses of this machine: say with --allow",
        ),
        (["x@y", "--allow", "*"], "--allow *: give a host name"),
        (["x@y", "--verify", "none.pem"], "--verify none.pem: there is no such file"),
        (["x@y", "--registry", "sqlite:///none.db"], "none.db: there is no such database"),
    ],
)
def test_wrong_options_are_told_in_a_line(
    soup: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: Any, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = soup("serve", *options, "--port", 0)
    assert answer.err.startswith("error: ")
    assert told in answer.err
    assert answer.code in (1, 2)
    assert [*tmp_path.iterdir()] == []


def test_a_folder_that_is_no_registered_model_is_served_with_a_warning(tmp_path: Path) -> None:
    put(tmp_path, tiny())
    found = checked(str(tmp_path), None, None)
    assert found.folder == tmp_path
    assert "its files have no digests to check" in found.warning
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"empty holds no model\.json"):
        checked(str(tmp_path / "empty"), None, None)


def test_a_folder_has_its_signature_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("model_signing", reason="the extra 'sign'")
    (tmp_path / "soup").mkdir()
    save_pyfunc(put(tmp_path / "soup", tiny()), tmp_path / "model")
    private, public = keys(tmp_path, "ours")
    with pytest.raises(Refused, match="model is refused: it is not signed"):
        checked(str(tmp_path / "model"), None, public)
    (tmp_path / "model.sig").write_text(sign(tmp_path / "model", private, "model"))
    monkeypatch.chdir(tmp_path / "model")
    assert checked(".", None, public).warning == ""
    flip(tmp_path / "model/data/soup/model.safetensors")
    with pytest.raises(Refused, match="its signature is not that of"):
        checked(".", None, public)
    (tmp_path / "model.sig").write_bytes(bytes(range(256)))
    with pytest.raises(Refused, match="its signature is not that of"):
        checked(".", None, public)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(tmp_path_factory.mktemp("store"))


@pytest.mark.slow
def test_a_registered_version_is_fetched_checked_and_refused_when_it_was_changed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    registered(store, "served", seed=3)
    found = checked("served@challenger", store.uri, None)
    assert (found.whose, found.warning) == (f"served version 1 of {store.uri}", "")
    assert sorted(p.name for p in found.folder.iterdir()) == [
        "config.json",
        "model.json",
        "model.safetensors",
    ]
    assert found.folder.resolve().is_relative_to((tmp_path / CACHE).resolve())
    flip(files_of(store, version(store, "served", "1")) / "data/soup/model.safetensors")
    flip(found.folder / "model.safetensors")
    with pytest.raises(Refused, match=r"model\.safetensors \(changed\)"):
        checked("served/1", store.uri, None)


@pytest.mark.slow
def test_a_champion_is_signed_when_it_is_promoted_and_only_then_served(
    soup: Command, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("model_signing", reason="the extra 'sign'")
    monkeypatch.chdir(tmp_path)
    private, public = keys(tmp_path, "ours")
    _, other = keys(tmp_path, "other")
    of = ("--model", "signed", "--registry", store.uri)
    registered(store, "signed", range(4), seed=4)
    assert soup("champion", "promote", *of).code == 0
    with pytest.raises(Refused, match=r"signed version 1 of .* is not signed"):
        checked("signed@champion", store.uri, public)
    again = soup("champion", "promote", "champion", *of, "--sign", private)
    assert (again.code, again.err) == (
        0, "signed version 1 is the champion: it was before, and is signed now",
    )  # fmt: skip
    assert checked("signed@champion", store.uri, public).warning == ""
    with pytest.raises(Refused, match=r"its signature is not that of .*other\.pub\.pem"):
        checked("signed@champion", store.uri, other)
    registered(store, "signed", range(9), seed=4)
    assert soup("champion", "promote", *of, "--sign", private).code == 1  # worse: not promoted
    assert "signature" not in version(store, "signed", "2").tags
    registered(store, "signed", range(2), seed=4)
    better = soup("champion", "promote", *of, "--sign", private)
    assert better.code == 0
    assert better.err.endswith("; signed")
    assert checked("signed@champion", store.uri, public).whose.startswith("signed version 3")
    assert soup("champion", "promote", *of, "--sign", "none.pem").err == (
        "error: --sign none.pem: there is no such file"
    )
