"""The study of the number of models, beside every soup and ensemble computed one by one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from soup.config.studies import StudyOptions
from soup.report.figures import svg
from soup.studies.number_of_models import STUDY, sentence
from tests.studies.mlp_pool import Pool, pool

OPTIONS = StudyOptions(orders=3, seed=4)


@pytest.fixture(scope="module")
def made() -> Pool:
    return pool(5)


def literal(made: Pool, subset: list[str], method: str, split: str) -> float:
    """The accuracy of a method on a split, without anything kept."""
    ranked = [name for name in made.ranked if name in subset]

    def right(members: list[str], of: str, voted: bool) -> float:
        if voted:
            total = sum(made.logits(made.models[name], of) for name in members)
            answers = total.argmax(1)
            return float((answers == made.sets[of].labels).mean())
        weights = made.average(members)
        return 1 - made.errors(weights, of) / len(made.sets[of])

    voted = "ensemble" in method
    if method == "best single":
        members = ranked[:1]
    elif method in ("uniform", "ensemble"):
        members = ranked
    else:
        members = []
        for name in ranked:
            if not members or right([*members, name], "heldout", voted) >= right(
                members, "heldout", voted
            ):
                members.append(name)
    parts = ["far one", "far two"] if split == "shifts" else [split]
    return float(np.mean([right(members, part, voted) for part in parts]))


def test_every_number_is_that_of_a_slow_computation(made: Pool, tmp_path: Path) -> None:
    found = STUDY.run(made.bench(tmp_path), OPTIONS)
    orders = [
        np.random.default_rng([4, number]).permutation(sorted(made.ranked)).tolist()
        for number in range(3)
    ]
    assert len(found.table) == 5 * 2 * 5
    for row in found.table.to_dict("records"):
        values = [literal(made, o[: row["x"]], row["method"], row["split"]) for o in orders]
        assert row["mean"] == pytest.approx(np.mean(values)), row
        assert row["low"] == pytest.approx(np.quantile(values, 0.05))
        assert row["high"] == pytest.approx(np.quantile(values, 0.95))
    assert svg(found.figure).startswith("<svg")


def test_a_second_run_and_fewer_orders_make_no_pass(made: Pool, tmp_path: Path) -> None:
    first = STUDY.run(made.bench(tmp_path), OPTIONS)
    made.passes.clear()
    second = STUDY.run(made.bench(tmp_path), OPTIONS)
    pd.testing.assert_frame_equal(first.table, second.table)
    assert first.sentence == second.sentence
    STUDY.run(made.bench(tmp_path), StudyOptions(orders=2, seed=4))
    assert made.passes == []


def test_an_interrupted_study_goes_on(tmp_path: Path) -> None:
    whole, made = pool(4, seed=2), pool(4, seed=2)
    STUDY.run(whole.bench(tmp_path / "whole"), OPTIONS)
    ordinary, calls = made.predict, 0

    def stops(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise KeyboardInterrupt
        return ordinary(*arguments)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        STUDY.run(made.bench(tmp_path / "cut", predict=stops), OPTIONS)
    STUDY.run(made.bench(tmp_path / "cut"), OPTIONS)
    # What was under way is done again, and no more: an average's pass over each of three splits.
    assert len(whole.passes) <= len(made.passes) <= len(whole.passes) + 3


def curve(**means: tuple[float, float]) -> pd.DataFrame:
    rows = [
        (method.replace("_", " "), split, x, value + x / 1000, value, value, 5)
        for method, values in means.items()
        for split, value in zip(("test", "shifts"), values, strict=True)
        for x in (1, 2, 3)
    ]
    columns = ["method", "split", "x", "mean", "low", "high", "orders"]
    return pd.DataFrame(rows, columns=columns)


def test_the_sentence_says_that_the_finding_shows_only_if_it_does() -> None:
    shown = {"greedy": (0.9, 0.8), "best_single": (0.8, 0.7), "uniform": (0.85, 0.9)}
    told = sentence(curve(**shown, ensemble=(0.95, 0.75)))
    assert told.endswith("The paper's finding shows.")
    assert (
        "greedy is at or above best single for 2 of 2 numbers of models from 2 on (+10.00" in told
    )
    told = sentence(curve(**shown, ensemble=(0.85, 0.85)))
    assert told.endswith(
        "The paper's finding does not show at every number: ensemble above greedy on test, greedy "
        "above ensemble under shift."
    )


def test_methods_that_are_equal_show_no_finding() -> None:
    equal = (0.8, 0.7)
    told = sentence(curve(greedy=equal, best_single=equal, uniform=equal, ensemble=equal))
    assert "greedy is at or above best single for 2 of 2 numbers of models from 2 on (0.00" in told
    assert told.endswith(
        "does not show at every number: greedy above best single on test (the two are equal), "
        "greedy above uniform on test (the two are equal), ensemble above greedy on test (the two "
        "are equal), greedy above best single under shift (the two are equal), greedy above "
        "ensemble under shift (the two are equal)."
    )
    told = sentence(curve(greedy=equal, best_single=equal, uniform=(0.7, 0), ensemble=(0.9, 0.6)))
    assert told.count("(the two are equal)") == 2


def test_without_shifts_only_test_is_studied(made: Pool, tmp_path: Path) -> None:
    sets = {split: made.sets[split] for split in ("heldout", "test")}
    alone = Pool(made.models, sets, {})
    found = STUDY.run(alone.bench(tmp_path), OPTIONS)
    assert set(found.table["split"]) == {"test"}
    assert "shift" not in found.sentence.replace("The paper's finding", "")
