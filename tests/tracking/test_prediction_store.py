"""Answers in a real MLflow store are found by what made them, by whichever run."""

from pathlib import Path

import numpy as np
import pytest

from soup.tracking import TrackingError, prediction_store
from tests.registries import open_store


@pytest.mark.slow
def test_answers_are_found_again_and_a_changed_file_is_an_error(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    run_id = store.start("ingredient", "d", "one")
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float16)
    prediction_store.keep(store, run_id, "shift-1.0", "made of this", logits)
    found = prediction_store.find(store, "shift-1.0", "made of this")
    assert found is not None
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, logits)
    assert prediction_store.find(store, "shift-1.0", "made of that") is None
    assert prediction_store.find(store, "test", "made of this") is None
    (file,) = (tmp_path / "artifacts").rglob("shift-1.0.npz")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(TrackingError, match=rf"shift-1.0\.npz of run {run_id} is not what was"):
        prediction_store.find(store, "shift-1.0", "made of this")
    file.unlink()
    with pytest.raises(TrackingError, match=rf"shift-1.0\.npz of run {run_id} cannot be read"):
        prediction_store.find(store, "shift-1.0", "made of this")
