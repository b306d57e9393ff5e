"""Nothing that MLflow is sent is longer than PostgreSQL holds, however large the sweep."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import grown
from soup.cli import main
from soup.cli.champion_table import row_of
from soup.pipeline.stages.register import _description
from soup.tracking import Store, copy, history, promote, roll_back, version
from soup.tracking.limits import LONGEST, key_of, model_name, shortened, storable
from soup.tracking.promotion import Decision
from tests import postgres
from tests.registries import open_store, registered

SWEEP = 1000  # ingredients


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store in a PostgreSQL."""
    if postgres.programs() is None:
        pytest.skip(postgres.MISSING)
    with postgres.started() as uri:
        yield Store(uri, "tests", tmp_path_factory.mktemp("artifacts"))


@pytest.mark.parametrize("length", [LONGEST, LONGEST + 1, 36_000])
def test_a_text_that_no_tag_or_parameter_holds_is_an_artifact_and_read_as_it_was_given(
    store: Store, length: int
) -> None:
    text = ("0123456789\n" * length)[:length]
    run = store.start("soup", f"long-{length}", "soup", {"ingredients": text}, {"space/lr": text})
    assert store.start("soup", f"long-{length}", "soup", {"ingredients": text}) == run
    store.tag(run, {"later": text})
    (found,) = store.get([run])
    texts = [found.tags["ingredients"], found.tags["later"], found.params["space/lr"]]
    assert [store.whole(each) for each in texts] == [text] * 3
    assert all((each == text) == (length <= LONGEST) for each in texts)
    assert max(map(len, texts)) <= LONGEST


def test_more_parameters_tags_and_metrics_than_a_request_takes_are_all_stored(store: Store) -> None:
    many = {f"p{number}": number for number in range(250)}
    run = store.start("sweep", "many", "many", {}, many)
    store.tag(run, {name: str(number) for name, number in many.items()})
    figures = {f"m{number}": float(number) for number in range(1100)}
    store.log(run, 0, figures)
    (found,) = store.get([run])
    assert found.params == {name: str(number) for name, number in many.items()}
    assert found.params.items() <= found.tags.items()
    assert found.metrics == figures


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *(("lr", "lr"), ("space.lr/min", "space.lr/min"), ("lr (max)", "lr _max_")),
        *(("a//./b", "a/b"), ("/lr", "lr"), ("", "_"), ("taux d'échec", "taux d_échec")),
        ("n" * 400, "n" * 250),
    ],
)
def test_a_parameter_of_any_name_has_a_key_that_mlflow_takes(
    store: Store, name: str, key: str
) -> None:
    assert key_of(name) == key
    run = store.start("imported", f"key {key}", "run", {}, {name: 1})
    assert store.get([run])[0].params == {key: "1"}


@pytest.mark.parametrize("name", ["lr=0.1%", "a:b/c", 'it\'s "best"', "x" * 400, "bytes \udcff"])
def test_a_model_and_its_run_may_have_the_name_of_any_file(
    store: Store, tmp_path: Path, name: str
) -> None:
    (tmp_path / "weights").write_text("w")
    run = store.start("ingredient", f"named {model_name(name)}", name, {"reason": f"{name}\0"})
    store.log_weights(run, name, tmp_path, {"imported": name})
    store.end(run, failed=f"{name}\0")
    (found,) = store.get([run])
    assert found.name == shortened(name, 250)
    assert found.tags["reason"] == f"{storable(name)}\\0"


def test_a_description_of_any_length_is_read_as_it_was_given(store: Store, tmp_path: Path) -> None:
    classes = ", ".join(f"class number {number}" for number in range(1000))
    run = store.start("soup", "classes", "soup")
    store.describe(run, f"It knows {classes}.")
    note = store.client.get_run(run).data.tags["mlflow.note.content"]
    assert LONGEST - 100 < len(note) <= LONGEST
    assert note.endswith("...\n\nThe whole of it is the run's artifact description.md.")
    file = store.client.download_artifacts(run, "description.md", str(tmp_path))
    assert Path(file).read_text() == f"It knows {classes}."


def soup_of(store: Store, run_ids: list[str], splits: int) -> tuple[str, str, str]:
    """The run of a soup of these ingredients, and its description, short and whole."""
    tags = {"ingredients": json.dumps(run_ids)}
    run = store.start("soup", f"soup of {len(run_ids)}", "uniform soup", tags)
    scores = {"best_single": 0.7, "soup": 0.71, "gain": 0.01, "gain_low": 0.0, "gain_high": 0.02}
    metrics = {"test": scores} | {f"a-shift-of-a-long-name-{n}": scores for n in range(splits)}
    names = dict.fromkeys(metrics, "accuracy")
    return run, *_description(
        store, store.get([run])[0], {"recipe": "uniform"}, metrics, names, 0.95
    )


@pytest.fixture(scope="module")
def fine_tunes(store: Store) -> list[str]:
    """Runs of ingredients, made without looking for each whether there is one."""
    create, tags = store.client.create_run, {"soup.kind": "ingredient"}
    runs = [create(store.experiment_id, None, tags, f"ft-{n:03d}").info.run_id for n in range(300)]
    store.log(runs[0], 0, {"heldout/accuracy": 0.875})
    return runs


@pytest.mark.parametrize(
    ("ingredients", "splits"), [(3, 1), (20, 19), (21, 20), (72, 5), (300, 99)]
)
def test_a_description_fits_and_says_how_many_it_leaves_out(
    store: Store, fine_tunes: list[str], tmp_path: Path, ingredients: int, splits: int
) -> None:
    runs = fine_tunes[:ingredients]
    run, text, whole = soup_of(store, runs, splits)
    assert text.count("[ft-") == min(ingredients, 20)
    assert (f"\nand {ingredients - 20} more" in text) == (ingredients > 20)
    assert "| soup | gain (95% interval) |" in text
    assert text.count("| 70.00% | 71.00% | +1.00 (+0.00 to +2.00) |") == min(splits + 1, 20)
    page = f"(#/experiments/{store.experiment_id}/runs/{runs[0]}?workflowType=machine_learning)"
    assert f"| [ft-000]{page} | 87.50% |" in text
    assert f"/runs/{run}/artifacts/report.html?" in text
    store.describe(run, text, whole)
    note = store.client.get_run(run).data.tags["mlflow.note.content"]
    assert len(note) <= LONGEST
    assert note.startswith(text)
    listed = [file.path for file in store.client.list_artifacts(run)]
    shortened = ingredients > 20 or splits > 19
    assert ("description.md" in note, "description.md" in listed) == (shortened, shortened)
    if shortened:
        file = store.client.download_artifacts(run, "description.md", str(tmp_path))
        told = Path(file).read_text()
        assert told == whole
        assert (told.count("[ft-"), told.count("| 70.00% |")) == (ingredients, splits + 1)
        assert "more" not in told


def gate(_: Any) -> Decision:
    return Decision(True, "fewer errors " * 2000)


@pytest.mark.slow
def test_postgresql_takes_a_soup_of_a_thousand_ingredients_and_all_that_is_done_with_it(
    served: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def made(name: str, failed: str, parent: str | None = None) -> str:
        run = served.start("ingredient", name, name, {"base": "b"}, {"lr": 0.1}, parent)
        served.end(run, failed=failed)
        return run

    sweep = served.start("sweep", "sweep", "sweep")
    (many,) = grown.grow(served.uri, (sweep, made("ft", "", sweep)), sweeps=1, each=SWEEP - 10)
    runs = [*(made(f"failed-{number}", "too long " * 1000) for number in range(10)), *many.run_ids]
    run, text, _ = soup_of(served, runs, 400)
    served.log_inputs(run, model_ids=[f"m-{number:032x}" for number in range(SWEEP)])
    (soup,) = served.get([run])
    assert json.loads(served.whole(soup.tags["ingredients"])) == runs
    names = {f"tests-{number}.pt": "0" * 64 for number in range(SWEEP)}
    notes = {"ingredients": json.dumps(names), "options": json.dumps({"weights": [0.001] * SWEEP})}
    served.end(served.start("soup", "cli", "soup " * 100, notes, notes))

    first = registered(served, "large")
    # As `register` does, but for the files: with the soup's tags, and its description.
    tags = {"ingredients": soup.tags["ingredients"], "kept": str(SWEEP), "digest": "second"}
    tags = {**first.tags, **tags}
    from soup.tracking.registry import create

    second = create(served, "large", first.source, run, None, tags, text * 3)
    described = served.client.get_model_version("large", second.number).description
    assert len(described) <= LONGEST
    assert described.startswith(f"A uniform soup of {SWEEP} ingredients")
    for each in (first, second):
        assert promote(served, each, gate).promote
    roll_back(served, "large", "wrong at night " * 1000)
    assert [event.what for event in history(served, "large")] == ["promoted"] * 2 + ["rolled back"]
    assert version(served, "large", "champion").number == first.number
    other = Store(served.uri, "other", tmp_path / "other")
    copied = copy(served, version(served, "large", second.number), other, "copied", tmp_path)
    assert copied.tags["kept"] == str(SWEEP)

    words = ["soup", "champion", "show", "--model", "large", "--registry", served.uri, "--json"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    shown = json.loads(capsys.readouterr().out)["versions"]
    # The first has the tags of an earlier version.
    for each, told in zip(shown, (f"{SWEEP} ingredients", "2 ingredients"), strict=True):
        assert told in row_of(each)
