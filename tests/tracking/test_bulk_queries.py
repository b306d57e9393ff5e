"""Many runs read in few requests are the runs read one by one."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from benchmarks import grown
from soup.tracking import Store, Tracked, TrackingError, bulk_queries, folders, ingredients
from soup.tracking.tracked import tracked
from tests.registries import open_store
from tests.servers import MlflowServer, running

pytestmark = pytest.mark.slow
RUNS = 600  # more than a request is for


@dataclass
class Full:
    """A store with sweeps of hundreds and of three, and the SQL that was sent to it."""

    store: Store
    big: Any
    small: Any
    sent: list[str]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Full]:
    root = tmp_path_factory.mktemp("full")
    store = open_store(root)
    (root / "first").mkdir()
    planted = grown.plant(store, root / "first")
    (big,) = grown.grow(store.uri, planted, sweeps=1, each=RUNS)
    (small,) = grown.grow(store.uri, planted, sweeps=1, each=3)
    grown.folders(store, small, root / "artifacts" / "tests")
    sent: list[str] = []

    def note(*args: Any) -> None:
        if args[2].startswith("SELECT"):
            sent.append(args[2])

    engine = store.client._tracking_client.store.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    yield Full(store, big, small, sent)
    sa.event.remove(engine, "before_cursor_execute", note)


@pytest.fixture(scope="module")
def served(full: Full, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The same store through a server."""
    folder = tmp_path_factory.mktemp("served")
    server = MlflowServer(folder, database=full.store.uri)
    with running(server):
        yield Store(server.address, "tests", folder)


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are asked."""
    asked: list[str] = []
    plain = requests.Session.request

    def note(session: Any, method: str, url: str, **options: Any) -> Any:
        asked.append(url)
        return plain(session, method, url, **options)

    monkeypatch.setattr(requests.Session, "request", note)
    return asked


def one_by_one(full: Full, run_ids: Any) -> list[Tracked]:
    return [tracked(full.store.client.get_run(run_id)) for run_id in run_ids]


def by_the_book(runs: list[Tracked]) -> list[Tracked]:
    """Ranking as a person would: pick the best of those left, again and again."""
    left = [run for run in runs if "heldout/errors" in run.metrics]
    ranked = []
    while left:
        best = left[0]
        for run in left[1:]:
            fewer = run.metrics["heldout/errors"] - best.metrics["heldout/errors"]
            if fewer < 0 or (fewer == 0 and run.name < best.name):
                best = run
        left.remove(best)
        ranked.append(best)
    return ranked


def test_runs_are_those_that_one_request_each_gives(full: Full) -> None:
    some = random.Random(0).sample(full.big.run_ids, 60)
    assert full.store.get(some) == one_by_one(full, some)


def test_hundreds_are_ranked_as_by_the_book_in_some_twenty_queries_or_two(full: Full) -> None:
    runs = dict(zip((f"ft-{index:03d}" for index in range(RUNS)), full.big.run_ids, strict=True))
    full.sent.clear()
    ranked = full.store.ranked(full.big.run_ids)
    assert len(full.sent) <= 24
    assert ranked == by_the_book(full.store.get(full.big.run_ids))
    full.sent.clear()
    ranking = full.store.ranking(runs)
    assert len(full.sent) <= 2
    assert ranking == [(run.name, run.metrics["heldout/errors"]) for run in ranked]
    assert len({errors for _, errors in ranking}) < RUNS  # there are equal ones


def test_what_is_unscored_is_left_out_of_the_ranking_and_what_is_missing_is_named(
    full: Full,
) -> None:
    first, second, _ = full.small.run_ids
    unscored = full.store.start("ingredient", "unscored", "unscored")
    runs = {"b": first, "a": second, "unscored": unscored}
    assert {name for name, _ in full.store.ranking(runs)} == {"a", "b"}
    assert full.store.ranking({}) == []
    with pytest.raises(TrackingError, match="has no run nobody"):
        full.store.ranking({"b": first, "c": "nobody"})


def test_the_last_value_counts_in_the_ranking(full: Full) -> None:
    first, second, third = (
        full.store.start("ingredient", f"twice-{name}", name) for name in ("a", "b", "c")
    )
    for run_id, values in ((first, (9, 1)), (second, (1, 9)), (third, (5, 5))):
        for step, errors in enumerate(values):
            full.store.log(run_id, step, {"heldout/errors": errors})
    ranking = full.store.ranking({"a": first, "b": second, "c": third})
    assert ranking == [("a", 1), ("c", 5), ("b", 9)]


def test_the_finished_of_a_sweep_are_found_at_once_as_one_by_one(full: Full) -> None:
    full.sent.clear()
    found = full.store.finished(full.big.parent)
    assert len(full.sent) <= 24
    assert [*found] != []
    assert {digest: run.run_id for digest, run in found.items()} == dict(
        zip(full.big.digests, full.big.run_ids, strict=True)
    )
    for digest in random.Random(1).sample(full.big.digests, 20):
        assert full.store.find(digest) == found[digest]


def test_finished_goes_through_all_pages_and_leaves_out_what_is_under_way(
    full: Full, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_queries, "PAGE", 2)
    parent = full.store.start("sweep", "paged", "paged")
    assert full.store.finished(parent) == {}
    ids = {}
    for index in range(5):
        ids[f"p{index}"] = full.store.start("ingredient", f"p{index}", "p", parent=parent)
        if index != 3:
            full.store.end(ids[f"p{index}"])
    found = {digest: run.run_id for digest, run in full.store.finished(parent).items()}
    assert found == {digest: run_id for digest, run_id in ids.items() if digest != "p3"}
    assert {**found, "p3": ids["p3"]} == ids


def test_a_sweep_is_read_by_the_cook_without_a_request_for_each(full: Full, tmp_path: Path) -> None:
    full.sent.clear()
    found = ingredients(full.store, full.small.run_ids, tmp_path)
    assert len(full.sent) <= 24
    assert [each.run.run_id for each in found] == [
        run.run_id for run in by_the_book(one_by_one(full, full.small.run_ids))
    ]
    for each in found:
        model = full.store.client.get_logged_model(each.run.model_id)
        assert each.folder.as_uri() == model.artifact_location
        assert "head.weight" in each.ingredient.weights


def test_of_many_models_the_missing_are_named(full: Full, tmp_path: Path) -> None:
    known = full.store.get(full.small.run_ids[:1])[0].model_id
    with pytest.raises(TrackingError, match=r"has no model m-nobody$"):
        folders(full.store, {known: {}, "m-nobody": {}}, tmp_path)


def test_runs_that_do_not_belong_together_are_told_by_a_few_names(
    full: Full, tmp_path: Path
) -> None:
    stranger = full.store.start("ingredient", "other", "other", {"base": "x" * 64})
    full.store.log(stranger, 0, {"heldout/errors": 1})
    with pytest.raises(TrackingError) as caught:
        ingredients(full.store, [*full.big.run_ids, stranger], tmp_path)
    told = str(caught.value)
    assert "do not share their initialisation: other (xxxxxxxxxxxx), " in told
    assert "and 596 more (aaaaaaaaaaaa)" in told
    assert len(told) < 200


def test_a_server_ranks_as_its_database_does_a_hundred_runs_a_request(
    full: Full, served: Store, requested: list[str]
) -> None:
    runs = dict(zip((f"ft-{index:03d}" for index in range(RUNS)), full.big.run_ids, strict=True))
    assert served.ranking(runs) == full.store.ranking(runs)
    assert len(requested) == RUNS / 100
    requested.clear()
    first = full.big.run_ids[0]
    unscored = full.store.start("ingredient", "unscored too", "unscored")
    assert [name for name, _ in served.ranking({"a": first, "unscored": unscored})] == ["a"]
    with pytest.raises(TrackingError, match="has no run nobody"):
        served.ranking({"a": first, "b": "nobody"})


def test_a_server_is_asked_little_for_whole_runs_and_for_what_is_finished(
    full: Full, served: Store, requested: list[str]
) -> None:
    assert served.get(full.big.run_ids) == full.store.get(full.big.run_ids)
    assert len(requested) == 2
    requested.clear()
    assert served.finished(full.small.parent) == full.store.finished(full.small.parent)
    assert len(requested) == 1


def test_errors_that_are_not_a_number_are_no_score_to_a_database_nor_a_server(
    full: Full, served: Store
) -> None:
    runs = {"a": full.big.run_ids[0]}
    for name, values in (("never", [float("nan")]), ("once", [float("nan"), 7])):
        runs[name] = full.store.start("ingredient", f"nan-{name}", name)
        for step, errors in enumerate(values):
            full.store.log(runs[name], step, {"heldout/errors": errors})
    for store in (full.store, served):
        assert {name for name, _ in store.ranking(runs)} == {"a", "once"}
        assert {run.name for run in store.ranked([*runs.values()])} == {"once", "ft-000"}


def test_the_last_value_counts_for_a_server_too(full: Full, served: Store) -> None:
    run_id = full.store.start("ingredient", "scored again", "again")
    for step, errors in enumerate((9, 2, 5)):
        full.store.log(run_id, step, {"heldout/errors": errors})
    assert served.ranking({"again": run_id}) == [("again", 5)]
