"""Soups that are kept by their digest, in a folder that several pipelines share."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from soup.pipeline.cooking.cost import Cost
from soup.pipeline.cooking.kept_soups import KeptSoups
from soup.pipeline.cooking.result import COLUMNS, SoupResult


def test_two_pipelines_may_keep_one_soup_at_once(tmp_path: Path) -> None:
    weights = torch.randn(200, 200)
    trace = pd.DataFrame([[0, "a", 1.0, 0.5, float("nan"), True, 0, 10]], columns=COLUMNS)
    heldout = np.zeros((10, 2), np.float32)
    made = SoupResult({"w": weights}, ("a",), 1, trace, heldout, None, "", 0, Cost(1.0, 1.0, 1))

    def keep(_: int) -> torch.Tensor:
        return KeptSoups(tmp_path, 1).keep("digest", made).weights["w"]

    with ThreadPoolExecutor(2) as pipelines:
        kept = [*pipelines.map(keep, range(40))]
    assert all(torch.equal(found, weights) for found in kept)
    assert [f.name for f in tmp_path.iterdir() if f.is_dir()] == ["digest"]
