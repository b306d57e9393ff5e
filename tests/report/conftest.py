"""A realistic report, made up: the eight ingredients, the probe and the two shifts of one sweep."""

import math
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
from matplotlib.figure import Figure

from soup.report import figures
from soup.report.greedy_trace import greedy_trace
from soup.report.page import Report, page
from tests.report.document import Document

N = 2000
SHIFTS = {"v2": 0.12, "sketch": 0.35}
BEST = {"heldout": 0.915, "test": 0.906}


def results(gain: float, shifts: dict[str, float]) -> pd.DataFrame:
    """Every model on every split; the greedy soup `gain` above the best single model."""
    single = max(range(8), key=accuracy)
    models = {f"sweet-{k}": ("ingredient", accuracy(k) - accuracy(single)) for k in range(8)}
    models |= {
        "probe": ("probe", -0.15),
        "best single": ("best single", 0.0),
        "uniform": ("uniform", gain - 0.004),
        "greedy": ("greedy", gain),
        "ensemble": ("ensemble", 0.006),
        "greedy ensemble": ("greedy ensemble", 0.007),
    }
    drops = shifts | ({"shifts": sum(shifts.values()) / len(shifts)} if shifts else {})
    rows = []
    for model, (kind, change) in models.items():
        bases = BEST | {shift: BEST["test"] - drop for shift, drop in drops.items()}
        for place, (split, base) in enumerate(bases.items()):
            right = base + change * (1 + max(place - 1, 0) / 8)
            half = 1.96 * math.sqrt(right * (1 - right) / N)
            rows.append(
                (model, kind, split, N, right, right - half, right + half, 1.3 - right, 0.03)
            )
    names = ["model", "kind", "split", "n", "accuracy", "low", "high", "nll", "ece"]
    return pd.DataFrame(rows, columns=names)


def accuracy(k: int) -> float:
    return 0.915 - 0.004 * ((5 * k) % 8)


def ingredients() -> pd.DataFrame:
    rows = [
        {
            "name": f"sweet-{k}",
            "run_id": f"{k:032x}",
            "url": f"http://localhost:5000/#/experiments/1/runs/{k:032x}",
            "status": "finished",
            "reason": "",
            "kept": k in (0, 3, 5),
            "heldout_accuracy": accuracy(k),
            "lr": 1e-5 * 1.7**k,
            "weight_decay": (0.0, 0.001, 0.1)[k % 3],
            "epochs": (4, 8, 16)[k % 3],
            "label_smoothing": (0.0, 0.1)[k % 2],
            "mixup": (0.0, 0.5)[k // 4],
            "augment": ("none", "light", "strong")[(k + k // 3) % 3],
            "seed": 11 * k,
        }
        for k in range(8)
    ]
    failed = rows[6] | {"name": "sour-8", "status": "failed", "kept": False, "lr": 3e-3}
    failed |= {
        "url": "",
        "reason": "the loss diverged at step 131",
        "heldout_accuracy": math.nan,
    }
    probe = {"name": "probe", "run_id": "f" * 32, "url": "", "status": "finished", "reason": ""}
    return pd.DataFrame([*rows, failed, probe | {"kept": False, "heldout_accuracy": 0.77}])


def trace() -> pd.DataFrame:
    rows = [
        (1, "sweet-0", 170, 2000, True, 2000, 2000),
        (2, "sweet-5", 164, 170, True, 2000, 2000),
        (3, "sweet-2", math.nan, 164, False, 640, 2000),
        (4, "sweet-3", 160, 164, True, 2000, 2000),
        (5, "sweet-4", 163, 160, False, 2000, 2000),
        (6, "sweet-1", math.nan, 160, False, 410, 2000),
    ]
    names = ["step", "name", "heldout_errors", "at_most", "kept", "examples_seen", "heldout_n"]
    return pd.DataFrame(rows, columns=names)


def tests(difference: float, half: float, p_value: float, splits: list[str]) -> pd.DataFrame:
    names = ["split", "soup_only", "single_only", "p_value", "difference", "low", "high"]
    row = (40, 40 - difference * N, p_value, difference, difference - half, difference + half)
    return pd.DataFrame([(split, *row) for split in splits], columns=names)


@pytest.fixture(scope="session")
def make() -> Callable[..., Report]:
    """Makes a report; `gain`, `half` (of its interval), `p_value` and `shifts` set the verdict."""

    def build(
        gain: float = 0.011,
        half: float = 0.006,
        p_value: float = 0.004,
        shifts: dict[str, float] = SHIFTS,
        **changes: object,
    ) -> Report:
        splits = ["test", "shifts", *shifts] if shifts else ["test"]
        report = Report(
            title="Shapes, eight ways",
            recipe="greedy",
            results=results(gain, shifts),
            ingredients=ingredients(),
            trace=trace(),
            tests=tests(gain, half, p_value, splits),
            lineage={"Soup digest": "3f2a91bc", "MLflow run": "http://localhost:5000/#/runs/3f2a"},
            stage_seconds={"prepare": 2.4, "finetune": 4210.0, "evaluate": 95.0},
        )
        return replace(report, **changes)  # type: ignore[arg-type]  # by the field's name

    return build


class Drawn:
    """The figures of pages by what they show: most pages have figures of another page.

    That the same figure is the same bytes each time is shown by `test_figures.py`, without this.
    """

    def __init__(self) -> None:
        self._figures: dict[bytes, Figure] = {}
        self._texts: dict[int, str] = {}

    def once(self, draw: Callable[..., Figure]) -> Callable[..., Figure]:
        def drawn(*of: object) -> Figure:
            key = pickle.dumps((draw.__name__, of))
            if key not in self._figures:
                self._figures[key] = draw(*of)
            return self._figures[key]

        return drawn

    def svg(self, figure: Figure) -> str:
        if id(figure) not in self._texts:  # it is kept, so that no other has its id
            self._texts[id(figure)] = figures.svg(figure)
        return self._texts[id(figure)]

    def forget(self) -> None:
        self._figures.clear()
        self._texts.clear()


@pytest.fixture(scope="session")
def drawn() -> Drawn:
    return Drawn()


@pytest.fixture(scope="module", autouse=True)
def _draws_once(drawn: Drawn) -> Iterator[None]:
    """Pages of the tests in this folder draw each figure once, until it is forgotten."""
    once = {
        name: drawn.once(getattr(figures, name)) for name in ("accuracy_plane", "hyperparameters")
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("soup.report.page.figures", SimpleNamespace(svg=drawn.svg, **once))
        patch.setattr("soup.report.page.greedy_trace", drawn.once(greedy_trace))
        yield


@pytest.fixture(scope="session")
def document(make: Callable[..., Report]) -> Document:
    """The page of a report where all is there, parsed."""
    return Document(page(make()))
