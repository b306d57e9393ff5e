"""What the registry gives back is what was registered, or it is refused by name."""

import json
import pickle
import shutil
from pathlib import Path

import pytest

from soup.files import of_file
from soup.models.allowed_files import Refused
from soup.tracking import (
    Store,
    TrackingError,
    Version,
    aliases,
    champion,
    copy,
    fetch,
    history,
    register,
    registry_at,
    version,
    versions,
)
from tests.registries import files_of, open_store, registered

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def damaged(store: Store):
    """A version whose files a test may harm."""
    found = registered(store, "harmed")
    folder = files_of(store, found)
    safe = folder.with_name("safe")
    shutil.copytree(folder, safe)
    yield found, folder
    shutil.rmtree(folder)
    safe.rename(folder)


def test_a_version_is_fetched_whole_and_found_again_in_the_cache(
    store: Store, tmp_path: Path
) -> None:
    found = registered(store, "whole")
    folder = fetch(store, found, tmp_path / "here")
    assert {p.name for p in folder.iterdir()} == {"config.json", "model.json", "model.safetensors"}
    assert of_file(folder / "model.safetensors") == found.tags["sha256.model.safetensors"]
    fetch(store, found, tmp_path / "here")
    (folder / "model.safetensors").write_bytes(b"damaged")
    again = fetch(store, found, tmp_path / "here")
    assert of_file(again / "model.safetensors") == found.tags["sha256.model.safetensors"]
    assert [p.name for p in tmp_path.iterdir()] == ["here"]  # nothing is left aside


def test_a_registry_entry_with_a_pickle_in_it_is_refused_and_not_read(
    store: Store, damaged: tuple[Version, Path], tmp_path: Path
) -> None:
    found, folder = damaged

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "boom",))

    (folder / "python_model.pkl").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(Refused, match=r"harmed version 1 of .* it holds python_model\.pkl"):
        fetch(store, found, tmp_path / "here")
    assert [*tmp_path.iterdir()] == []  # neither exploded nor kept


@pytest.mark.parametrize("digests", [True, False])
def test_weights_that_are_not_those_registered_are_refused_by_name(
    store: Store, damaged: tuple[Version, Path], tmp_path: Path, digests: bool
) -> None:
    found, folder = damaged
    weights = folder / "data" / "soup" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    if not digests:  # deleted: those in the model's own metadata are left
        tags = {k: v for k, v in found.tags.items() if k != "files"}
        found = Version(found.model, found.number, found.run_id, tags, found.source)
    with pytest.raises(Refused, match=r"data/soup/model\.safetensors \(changed\)"):
        fetch(store, found, tmp_path / "here")
    tags = {k: v for k, v in found.tags.items() if k != "files"} | {"digest": "other"}
    model = store.find("soup-0")
    assert model is not None
    with pytest.raises(TrackingError, match="does not hold the weights that were cooked"):
        register(store, "harmed", model.model_id, found.run_id, tags, "")


def test_registering_again_gives_an_old_version_its_digests(store: Store) -> None:
    found = registered(store, "old")
    store.client.delete_model_version_tag("old", found.number, "soup.files")
    model = store.find("soup-0")
    assert model is not None
    tags = {k: v for k, v in found.tags.items() if k != "files"}
    again = register(store, "old", model.model_id, found.run_id, tags, "")
    assert again.number == found.number
    assert json.loads(again.tags["files"]) == json.loads(found.tags["files"])


def test_a_registry_that_does_not_answer_has_not_no_champion(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whatever comes while it is away would be the first champion."""
    from mlflow.exceptions import MlflowException

    def away(*_, **__):
        raise MlflowException("the database is away")

    registered(store, "away")
    assert champion(store, "away") is None
    assert champion(store, "never-heard-of") is None
    monkeypatch.setattr(store.client, "search_registered_models", away)
    with pytest.raises(TrackingError, match="away cannot be read: the database is away"):
        champion(store, "away")


def test_what_is_not_there_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="no registered model nobody"):
        versions(store, "nobody")
    with pytest.raises(TrackingError, match="has no nobody version champion"):
        version(store, "nobody", "champion")
    with pytest.raises(TrackingError, match=r"none\.db: there is no such database"):
        registry_at(f"sqlite:///{tmp_path}/none.db")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9 does not answer"):
        registry_at("http://127.0.0.1:9")


def test_a_copy_in_another_registry_has_the_bytes_the_lineage_and_names_its_source(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSOUP_ACTOR", "ada@lab")
    found = registered(store, "shapes", range(7))
    store.client.set_model_version_tag("shapes", found.number, "soup.audit.x", "{}")
    found = version(store, "shapes", found.number)
    other = open_store(tmp_path, "production")
    made = copy(store, found, other, "shapes-live", tmp_path / "cache")
    assert (made.model, made.number) == ("shapes-live", "1")
    kept = {k: v for k, v in found.tags.items() if not k.startswith("audit.")}
    assert kept.items() <= made.tags.items()
    assert made.tags["copied_from"] == f"shapes version {found.number} of {store.uri}"
    assert aliases(other, "shapes-live") == {"challenger": "1"}
    (event,) = history(other, "shapes-live")
    assert (event.what, event.who, event.why) == (
        "copied",
        "ada@lab",
        f"from shapes version {found.number} of {store.uri}",
    )
    assert files_of(other, made).is_relative_to(tmp_path)
    folder = fetch(other, made, tmp_path / "there")
    assert of_file(folder / "model.safetensors") == found.tags["sha256.model.safetensors"]
    again = copy(store, found, other, "shapes-live", tmp_path / "cache")
    assert again == made
    assert len(history(other, "shapes-live")) == 1


def test_a_copy_under_another_name_stores_no_second_weights(store: Store, tmp_path: Path) -> None:
    found = registered(store, "here")
    made = copy(store, found, store, "also-here", tmp_path)
    assert files_of(store, made) == files_of(store, found)
    with pytest.raises(TrackingError, match=r"is in here of .* already: name another model"):
        copy(store, found, store, "here", tmp_path)


def test_a_copy_that_was_interrupted_goes_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = registered(store, "halfway")
    other = open_store(tmp_path, "production")

    class Killed(BaseException):
        pass

    def dying(*_, **__):
        raise Killed

    for step in ("create_model_version", "set_registered_model_alias"):
        with monkeypatch.context() as patch:
            patch.setattr(other.client, step, dying)
            with pytest.raises(Killed):
                copy(store, found, other, "halfway", tmp_path / "cache")
    made = copy(store, found, other, "halfway", tmp_path / "cache")
    assert [v.number for v in versions(other, "halfway")] == [made.number] == ["1"]
    assert aliases(other, "halfway") == {"challenger": "1"}
    assert [e.what for e in history(other, "halfway")] == ["copied"]


def test_what_was_changed_on_the_way_is_not_a_copy(
    store: Store, damaged: tuple[Version, Path], tmp_path: Path
) -> None:
    found, folder = damaged
    (folder / "conda.yaml").write_text("name: other\n")
    other = open_store(tmp_path, "production")
    with pytest.raises(Refused, match=r"conda\.yaml \(changed\)"):
        copy(store, found, other, "harmed", tmp_path / "cache")
    assert aliases(other, "harmed") == {}
