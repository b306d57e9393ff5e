"""Soups that were made before, by the digest of all that decides them."""

import math
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from soup.errors import BadInput
from soup.evaluation import prediction_file
from soup.files import BadJson, of_file, read_json, write_json
from soup.pipeline.cooking.cost import Cost
from soup.pipeline.cooking.result import SoupResult
from soup.weights.checkpoint import Checkpoint, save
from soup.weights.shards import WEIGHTS_FILE

FACTS, HELDOUT, TRACE = "soup.json", "heldout.npz", "trace.csv"
GIB = 2**30


class KeptSoups:
    """A folder of soups, each in a folder of its digest; several pipelines may share it.

    Those not used for longest are removed when all of them exceed the limit.
    """

    def __init__(self, folder: Path, limit_gib: float) -> None:
        self._folder, self._limit = folder, limit_gib * GIB

    def find(self, digest: str) -> SoupResult | None:
        """The soup of a digest; None if it is not there, or damaged."""
        folder = self._folder / digest
        try:
            facts = read_json(folder / FACTS)
            if any(of_file(folder / name) != made for name, made in facts["files"].items()):
                return None
            result = _read(folder, facts)
        except (OSError, BadJson, BadInput, KeyError, TypeError, AttributeError, ValueError):
            return None
        with suppress(OSError):
            os.utime(folder)
        return result

    def keep(self, digest: str, result: SoupResult) -> SoupResult:
        """Store a soup, and return it with its weights on disk; of equal ones the first stays."""
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = self._folder / digest
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".making-") as temporary:
            made = Path(temporary) / "soup"
            made.mkdir()
            save(result.weights, made / WEIGHTS_FILE)
            prediction_file.write(made / HELDOUT, result.heldout)
            result.trace.to_csv(made / TRACE, index=False, lineterminator="\n")
            facts = {
                "files": {name: of_file(made / name) for name in (WEIGHTS_FILE, HELDOUT, TRACE)},
                "kept": [*result.kept],
                "errors": None if math.isnan(result.errors) else result.errors,
                "shares": result.shares,
                "batchnorm": result.batchnorm,
                "recalibrated_on": result.recalibrated_on,
                "cost": asdict(result.cost),
            }
            write_json(made / FACTS, facts)
            with FileLock(self._folder / "soups.lock"):
                if stored := self.find(digest):
                    return stored
                shutil.rmtree(folder, ignore_errors=True)  # a damaged one
                made.rename(folder)
                self._evict(folder)
                return _read(folder, facts)

    def _evict(self, newest: Path) -> None:
        folders = [f for f in self._folder.iterdir() if f.is_dir() and not f.name.startswith(".")]
        total = 0
        for folder in sorted(folders, key=lambda f: f.stat().st_mtime_ns, reverse=True):
            total += sum(file.stat().st_size for file in folder.iterdir())
            if total > self._limit and folder != newest:
                shutil.rmtree(folder, ignore_errors=True)


def _read(folder: Path, facts: dict[str, Any]) -> SoupResult:
    return SoupResult(
        weights=Checkpoint(folder / WEIGHTS_FILE),
        kept=tuple(facts["kept"]),
        errors=math.nan if facts["errors"] is None else facts["errors"],
        trace=pd.read_csv(folder / TRACE, float_precision="round_trip", dtype={"name": str}),
        heldout=prediction_file.read(folder / HELDOUT),
        shares=facts["shares"],
        batchnorm=facts["batchnorm"],
        recalibrated_on=facts["recalibrated_on"],
        cost=Cost(**facts["cost"]),
    )
