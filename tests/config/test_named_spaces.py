"""The named spaces, held against the paper's released runs where these are present."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from soup.config.named_spaces import NAMED
from soup.config.params import Sweep
from soup.config.search_space import SPACES
from soup.pipeline.sweep.sampling import sample

RELEASED = Path(__file__).parents[3] / "shared" / "data" / "published" / "hparam_info.json"


def test_every_name_that_params_know_has_a_space() -> None:
    assert (*NAMED,) == SPACES


@pytest.mark.parametrize(("name", "points"), [("paper-grid", 48), ("extreme-grid", 48)])
def test_a_grid_has_the_paper_s_number_of_runs(name: str, points: int) -> None:
    sample(Sweep(runs=points, space={"like": name}))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"the grid has {points} points"):
        sample(Sweep(runs=points + 1, space={"like": name}))  # type: ignore[arg-type]


def test_seeds_only_differs_in_nothing_but_the_seed() -> None:
    runs = sample(Sweep(runs=20, space="seeds-only"))  # type: ignore[arg-type]
    assert len(set(runs)) == 20
    assert len({replace(run, seed=0) for run in runs}) == 1


def test_the_random_search_covers_the_released_runs_and_draws_like_them() -> None:
    if not RELEASED.is_file():
        pytest.skip(f"the published runs are not at {RELEASED}")
    released = [run for run in json.loads(RELEASED.read_text()).values() if "lr" in run]
    assert len(released) == 71
    drawn = sample(Sweep(runs=2000, space="paper-random"))  # type: ignore[arg-type]
    for key, ours in (("lr", "lr"), ("wd", "weight_decay"), ("epochs", "epochs"),
                      ("mix", "mixup"), ("smoothing", "label_smoothing")):  # fmt: skip
        values = [run.as_dict()[ours] for run in drawn]
        theirs = [run[key] for run in released]
        assert min(values) <= 1.1 * min(theirs)
        assert max(values) >= 0.99 * max(theirs)
        zeros = sum(v == 0 for v in theirs) / len(theirs)
        assert sum(v == 0 for v in values) / len(values) == pytest.approx(zeros, abs=0.12)
    theirs = [run["aug"] for run in released if run["aug"]]
    ours = [run.augment for run in drawn if run.augment.startswith("rand")]
    assert 1 - len(ours) / len(drawn) == pytest.approx(1 - len(theirs) / 71, abs=0.12)
    for part in (r"m(\d+)", r"n(\d+)"):
        found, wanted = [{int(re.search(part, a)[1]) for a in each} for each in (ours, theirs)]  # type: ignore[index]
        assert wanted <= found
