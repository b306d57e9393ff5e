"""Soups in a real registry, whose held-out answers are chosen."""

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from soup.evaluation.promotion_gate import packed
from soup.files import of_file
from soup.tracking import Store, Version, register, save_pyfunc
from tests import homes
from tests.worlds import put, tiny

_count = itertools.count()


def open_store(folder: Path, name: str = "tests") -> Store:
    return Store(homes.tracking(folder), name, folder / "artifacts")


def answers(wrong: Sequence[int], n: int = 100) -> np.ndarray:
    """All right but these."""
    right = np.ones(n, dtype=np.bool_)
    right[list(wrong)] = False
    return right


def registered(
    store: Store, model: str, wrong: Sequence[int] = (), split: str = "split", seed: int = 0
) -> Version:
    """A version that got these of 100 held-out images wrong."""
    right, digest = answers(wrong), f"digest-{next(_count)}"
    run, model_id, sha = _stored(store, seed)
    tags = {
        "digest": digest,
        "split": split,
        "errors": str(int((~right).sum())),
        "examples": str(len(right)),
        "correct": packed(right),
        "recipe": "greedy",
        "ingredients": '["a", "b"]',
        "commit": "c" * 40,
        "test_accuracy": "0.9",
        "run": run,
        "sha256.model.safetensors": sha,
    }
    page = f"#/experiments/{store.experiment_id}/runs/{run}"
    return register(store, model, model_id, run, tags, f"A soup, cooked by [soup]({page}).")


def _stored(store: Store, seed: int) -> tuple[str, str, str]:
    """A run, its logged model and the digest of its weights; one serves all of the same seed."""
    known = store.find(f"soup-{seed}")
    if known is not None:
        return known.run_id, known.model_id, known.tags["sha"]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "soup", Path(folder) / "model"
        source.mkdir()
        put(source, tiny(seed=seed))
        save_pyfunc(source, target)
        sha = of_file(source / "model.safetensors")
        run = store.start("soup", f"soup-{seed}", "soup", {"sha": sha})
        model_id = store.log_weights(run, "soup", target, {})
        store.end(run)
    return run, model_id, sha


def files_of(store: Store, version: Version) -> Path:
    """Where a local store keeps a version's files."""
    return Path(version.source.removeprefix("file://"))
