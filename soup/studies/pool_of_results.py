"""A pool of models known by their results alone: a sweep's tables, or the published files.

The published files are `individual_model_results.jsonl`, `hparam_info.json` and the results of
soups (`SOUPS`) of mlfoundations/model-soups: the 72 fine-tunes of CLIP ViT-B/32 of "Model soups".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from soup.errors import BadInput, some
from soup.files import BadJson, parse_json, read_bytes

PUBLISHED_SETTINGS = "hparam_info.json"
SOUPS = {
    "uniform": "uniform_soup_results.jsonl",
    "greedy": "greedy_soup_results.jsonl",
    "ensemble": "ensemble_results.jsonl",
}
SHIFTS = {
    "ImageNetV2": "v2",
    "ImageNetSketch": "sketch",
    "ImageNetR": "r",
    "ObjectNet": "objectnet",
    "ImageNetA": "a",
}
SPLITS = {"ImageNet2p": "heldout", "ImageNet": "test", **SHIFTS}
SETTINGS = {
    "lr": "lr",
    "wd": "weight_decay",
    "epochs": "epochs",
    "mix": "mixup",
    "smoothing": "label_smoothing",
    "aug": "augment",
}
SINGLE = ("ingredient", "probe")


class UnusableResults(BadInput, ValueError):
    """A file of results that a study cannot use; the message says what it lacks."""


@dataclass(frozen=True)
class ResultPool:
    """The accuracies of a pool's models, and their hyperparameters.

    Attributes:
        results: model, kind, split, accuracy, as the table of `result_tables.table`.
        settings: a row for each model (the index), a column for each hyperparameter; may be empty.
    """

    results: pd.DataFrame
    settings: pd.DataFrame

    @property
    def scores(self) -> pd.DataFrame:
        """A row for each single model (the index), a column for each split; fractions."""
        single = self.results[self.results["kind"].isin(SINGLE)]
        return single.pivot_table("accuracy", "model", "split", sort=False)

    @property
    def splits(self) -> list[str]:
        """What a study of test and shifts shows: 'test' and, if there are shifts, their mean."""
        return [split for split in ("test", "shifts") if split in self.scores]

    def of_kind(self, kind: str) -> pd.Series:
        """The accuracy of the one model of a kind on each split; empty if there is none."""
        rows = self.results[self.results["kind"] == kind].drop_duplicates("split")
        accuracy: pd.Series = rows.set_index("split")["accuracy"].astype(float)
        return accuracy

    @property
    def best_single(self) -> str:
        """The model that is the best on held-out, the first of equal ones."""
        return str(self.scores["heldout"].idxmax())


def read(file: Path) -> ResultPool:
    """A pool from a file of results.

    Args:
        file: `results.csv` of a finished pipeline, or `individual_model_results.jsonl` of the
            published repository, beside which `hparam_info.json` and the files of `SOUPS` may lie.

    Raises:
        UnusableResults: the file is missing, or is no such file, or has fewer than three models.
    """
    try:
        pool = _published(file) if file.suffix == ".jsonl" else _of_pipeline(file)
    except OSError as error:
        raise UnusableResults(f"{file} cannot be read: {error.strerror or error}") from None
    scores = pool.scores
    lacking = [split for split in ("heldout", "test") if split not in scores]
    if lacking:
        raise UnusableResults(f"{file} has no accuracy on {some(lacking, 2, last=' ')}")
    if len(scores) < 3:
        raise UnusableResults(
            f"{file} has {len(scores)} single models, and a study needs three: raise sweep.runs"
        )
    if scores[["heldout", *pool.splits]].isna().any(axis=None):
        incomplete = scores.index[scores[["heldout", *pool.splits]].isna().any(axis=1)]
        raise UnusableResults(f"{file} lacks accuracies of {some([*incomplete], 5)}")
    return pool


def _of_pipeline(file: Path) -> ResultPool:
    from io import BytesIO

    try:
        results = pd.read_csv(BytesIO(read_bytes(file)))
    except (ValueError, BadJson) as error:
        raise UnusableResults(f"{file} is no table of results: {error}") from None
    lacking = [c for c in ("model", "kind", "split", "accuracy") if c not in results]
    if lacking:
        raise UnusableResults(f"{file} is no table of results: it has no {some(lacking, 4)}")
    results["accuracy"] = pd.to_numeric(results["accuracy"], errors="coerce")
    return ResultPool(results, pd.DataFrame())


def _published(file: Path) -> ResultPool:
    try:
        rows = _rows(file)
        for kind, name in SOUPS.items():
            if (beside := file.with_name(name)).is_file():
                rows += [row | {"kind": kind} for row in _rows(beside)]
        settings_file = file.with_name(PUBLISHED_SETTINGS)
        told: Any = {}
        if settings_file.is_file():
            told = parse_json(read_bytes(settings_file), str(settings_file))
    except BadJson as error:
        raise UnusableResults(str(error)) from None
    columns = ["model", "kind", "split", "accuracy"]
    return ResultPool(pd.DataFrame(rows, columns=columns), _settings(told, settings_file))


def _rows(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    lines = read_bytes(file).decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, start=1):
        rows += _of_line(parse_json(line, f"{file}, line {number}"), f"{file}, line {number}")
    return rows


def _of_line(facts: Any, source: str) -> list[dict[str, Any]]:
    """The rows of one published model: each split, and the mean of its five shifts."""
    if not isinstance(facts, Mapping):
        raise UnusableResults(f"{source} is no model's results")
    lacking = [key for key in ("model_name", *SPLITS) if key not in facts]
    wrong = [k for k in SPLITS if k not in lacking and not isinstance(facts[k], int | float)]
    if lacking or wrong:
        raise UnusableResults(f"{source} has no usable {some(lacking + wrong, 8)}")
    name = str(facts["model_name"])
    kind = "probe" if name == "model_0" else "ingredient"
    accuracies = {split: float(facts[key]) for key, split in SPLITS.items()}
    accuracies["shifts"] = sum(accuracies[s] for s in SHIFTS.values()) / len(SHIFTS)
    return [
        {"model": name, "kind": kind, "split": split, "accuracy": accuracy}
        for split, accuracy in accuracies.items()
    ]


def _settings(told: Any, source: Path) -> pd.DataFrame:
    if not isinstance(told, Mapping) or not all(isinstance(v, Mapping) for v in told.values()):
        raise UnusableResults(f"{source} is not model's name -> hyperparameters")
    rows = {
        name: {ours: values[theirs] for theirs, ours in SETTINGS.items() if theirs in values}
        for name, values in told.items()
    }
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=[*SETTINGS.values()])
    if "augment" in frame:
        tuned = frame["lr"].notna()  # the linear probe has no settings
        frame.loc[tuned, "augment"] = frame.loc[tuned, "augment"].fillna("none")
    return frame
