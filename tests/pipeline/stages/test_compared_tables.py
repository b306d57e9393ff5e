"""The paired tests of `compared.csv`: each soup's own answers against the best single model's."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from soup.evaluation.metrics import Score
from soup.evaluation.result_tables import Model, Resampling
from soup.pipeline.stages import evaluate

KINDS = {"greedy": 0.80, "pruned": 0.70, "learned (by layer)": 0.74, "best single": 0.75,
         "ensemble": 0.9}  # fmt: skip
SPLITS = {"heldout": 60, "test": 90, "odd": 40}


def test_each_soup_is_tested_by_its_own_answers_against_the_best_single(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    right = {
        kind: {split: rng.random(n) < share for split, n in SPLITS.items()}
        for kind, share in KINDS.items()
    }
    rows = [
        Model(kind, kind, {split: Score(hits, 1.0, 0.1) for split, hits in of.items()})
        for kind, of in right.items()
    ]
    params = SimpleNamespace(data=SimpleNamespace(shifts={"odd": None}))
    resampling = Resampling(resamples=50, confidence=0.95, seed=0)
    project: Any = SimpleNamespace(out=tmp_path, params=params, resampling=resampling)
    numbers = SimpleNamespace(predicts_numbers=False)
    pool: Any = SimpleNamespace(score_name="accuracy", score=None, architecture=numbers)
    soups = ["greedy", "pruned", "learned (by layer)"]
    _, chosen = evaluate._tables(project, rows, "pruned", soups, pool, {})
    compared = pd.read_csv(tmp_path / "compared.csv").set_index(["recipe", "split"])
    assert [*dict.fromkeys(compared.index.get_level_values(0))] == soups
    for kind in soups:
        for split, count in SPLITS.items():
            ours, theirs = right[kind][split], right["best single"][split]
            only = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
            row = compared.loc[(kind, split)]
            assert (row["soup_only"], row["single_only"]) == only
            assert row["p_value"] == pytest.approx(binomtest(only[0], sum(only)).pvalue)
            assert row["difference"] == pytest.approx((only[0] - only[1]) / count)
            assert row["low"] <= row["difference"] <= row["high"]
    own = compared.loc["pruned"].reset_index()
    pd.testing.assert_frame_equal(own, chosen.reset_index(drop=True))
    pd.testing.assert_frame_equal(own, pd.read_csv(tmp_path / "tests.csv"))
