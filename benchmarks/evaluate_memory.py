"""What evaluate holds in memory: 72 ingredients on ImageNet's held-out, test and five shifts.

    .venv/bin/python benchmarks/evaluate_memory.py --scale 0.02
    .venv/bin/python benchmarks/evaluate_memory.py --ways streamed

No model computes anything: logits are drawn from a seed, with the numbers of examples and classes
that CLIP's evaluation has. Each way is a process of its own, whose peak is told as such and less
what it held before (Python, torch, the labels). `streamed` is what evaluate does. `held` is what it
did before: it keeps all logits, float32, and takes the means over all of them; at full size that
would be 59 GB for the logits alone. Both ways must give the same accuracies and tests of single
models; likelihood, calibration and ensembles are apart by the rounding to float16.
"""

import argparse
import json
import resource
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from machine import machine
from programs import answer

from soup.data.loading.images import Images
from soup.evaluation import ensemble
from soup.evaluation.metrics import Logits, Score, score
from soup.evaluation.prediction_cache import PredictionCache, Source
from soup.evaluation.prediction_file import to_float16_keeping_argmax
from soup.evaluation.result_tables import Model, Resampling, paired, table
from soup.evaluation.split_scores import score_splits
from soup.evaluation.targets import Targets, among_present
from soup.weights import Weights
from tests.worlds import architecture

CLASSES = 1000
SIZES = {  # split -> examples, and the classes among which they are answered
    "heldout": (26_000, 1000),
    "test": (50_000, 1000),
    "imagenetv2": (10_000, 1000),
    "imagenet-r": (30_000, 200),
    "sketch": (50_889, 1000),
    "imagenet-a": (7_500, 200),
    "objectnet": (18_574, 200),
}
SHIFTS = [split for split in SIZES if split not in ("heldout", "test")]
OTHERS = ("uniform", "greedy", "zero-shot")
FIGURES = ["accuracy", "low", "high", "nll", "ece"]
RESAMPLING = Resampling(1000, 0.95, 0)
Table = tuple[pd.DataFrame, pd.DataFrame]


class Drawn:
    """Models whose logits are drawn."""

    def __init__(self, models: int, scale: float) -> None:
        rng = np.random.default_rng(0)
        self.labels = {
            split: rng.permutation(max(2 * among, round(scale * examples))) % among
            for split, (examples, among) in SIZES.items()
        }
        self.targets = {s: among_present(s, labels) for s, labels in self.labels.items()}
        # By falling strength, and so about in the order of their held-out accuracy.
        self.members = [f"ft-{index:03d}" for index in range(models)]
        self.names = [*self.members, *OTHERS]

    def logits(self, model: str, split: str) -> Logits:
        """float32 (examples, classes), of which the label's is larger by the model's strength."""
        labels, number = self.labels[split], self.names.index(model)
        rng = np.random.default_rng([number, [*SIZES].index(split)])
        logits = rng.random((len(labels), CLASSES), dtype=np.float32)
        logits *= 10
        logits[np.arange(len(labels)), labels] += 5 - number / len(self.names)
        return logits


def streamed(drawn: Drawn) -> Table:
    """As evaluate does, with the parts that it has."""
    sets = {s: Images(None, own, (), digest=s) for s, own in drawn.labels.items()}

    def compute(weights: Weights, images: Images) -> Logits:
        return drawn.logits(drawn.names[int(weights["number"])], images.digest)

    def source(number: int, name: str) -> Source:
        weights = {"number": torch.tensor(number)}
        known = None
        if name in drawn.members:  # in the file of its run
            known = lambda: to_float16_keeping_argmax(drawn.logits(name, "heldout"))  # noqa: E731
        return Source(name, "", "", lambda: weights, lambda: name, known)

    sources = {name: source(number, name) for number, name in enumerate(drawn.names)}
    predictions = PredictionCache(sets, drawn.targets, architecture(), compute)
    members = drawn.members
    heldout = (predictions(sources[name], "heldout") for name in members)
    chosen = ensemble.greedy(heldout, drawn.labels["heldout"])
    scores = score_splits(
        drawn.names,
        {"ensemble": members, "greedy ensemble": [members[index] for index in chosen]},
        drawn.targets,
        lambda name, split: predictions(sources[name], split),
        15,
    )
    return tables(scores, drawn.members[0])


def held(drawn: Drawn) -> Table:
    """With all logits in memory."""
    logits = {name: {s: drawn.logits(name, s) for s in SIZES} for name in drawn.names}
    members = drawn.members
    chosen = ensemble.greedy([logits[m]["heldout"] for m in members], drawn.labels["heldout"])
    ensembles = {"ensemble": members, "greedy ensemble": [members[index] for index in chosen]}
    for name, some in ensembles.items():
        logits[name] = {
            split: np.mean(np.stack([logits[m][split] for m in some]), axis=0, dtype=np.float64)
            for split in SIZES
        }

    def scored(own: Mapping[str, Logits], split: str, target: Targets) -> Score:
        return score(target.project(own[split]), target.labels)

    scores = {
        name: {split: scored(own, split, target) for split, target in drawn.targets.items()}
        for name, own in logits.items()
    }
    return tables(scores, drawn.members[0])


def tables(scores: Mapping[str, Mapping[str, Score]], best: str) -> Table:
    models = {name: Model(name, name, own) for name, own in scores.items()}
    results = table([*models.values()], SHIFTS, RESAMPLING)
    return results, paired(models["greedy"], models[best], SHIFTS, RESAMPLING)


def measured(way: str, models: int, scale: float) -> None:
    """Print what a way takes, as JSON."""
    drawn = Drawn(models, scale)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    before, start = pages * resource.getpagesize(), time.perf_counter()
    results, tests = {"streamed": streamed, "held": held}[way](drawn)
    seconds = time.perf_counter() - start
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = {"peak": peak, "alone": peak - before, "seconds": seconds, "tests": tests.to_csv()}
    print(json.dumps({**told, "results": results.fillna(0).to_dict("records")}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", type=int, default=72, help="ingredients; three more are scored")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the examples")
    parser.add_argument("--ways", nargs="+", default=["held", "streamed"])
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measured(given.measure, given.models, given.scale)
        return
    print(machine())
    examples = sum(len(labels) for labels in Drawn(0, given.scale).labels.values())
    whole = (given.models + len(OTHERS)) * examples * CLASSES * 4 / 1e9
    print(f"{given.models} ingredients, {examples:,} examples: {whole:.1f} GB of logits, float32\n")
    options = ("--models", given.models, "--scale", given.scale)
    taken = {way: answer(Path(__file__), "--measure", way, *options) for way in given.ways}
    rows = [
        {
            "way": way,
            "peak, GB": own["peak"] / 1e9,
            "of that, evaluating, GB": own["alone"] / 1e9,
            "seconds": own["seconds"],
        }
        for way, own in taken.items()
    ]
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".2f"))
    if len(taken) == 2:
        one, other = (pd.DataFrame(own["results"]) for own in taken.values())
        apart = (one[FIGURES] - other[FIGURES]).abs()
        single = ~one["model"].str.contains("ensemble")
        print("\nhow far apart the ways are, at most")
        print(pd.DataFrame({"models": apart[single].max(), "ensembles": apart[~single].max()})
              .to_markdown(floatfmt=".1g"))  # fmt: skip
        same = len({own["tests"] for own in taken.values()}) == 1
        print(f"paired tests: {'the same' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
