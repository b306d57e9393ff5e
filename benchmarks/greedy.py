"""Greedy soups of real photographs: ours beside the published loop, on the same files.

    .venv/bin/python benchmarks/greedy.py --data data/cifar10 --base data/base-tinyimagenet
    .venv/bin/python benchmarks/greedy.py --made FOLDER --models 16

Three sets of ingredients: short fine-tunes (`finetunes.py`) that differ in learning rate, decay,
smoothing and order of images within a set, and in the number of steps between sets; made once into
--cache. Both ways start from the files: checkpoints, and JPEG in folders. `published` decodes anew
for each candidate (`peers/published_greedy.py`); ours decodes inside the time measured, once. It is
also run with every pass full, which must give the same bytes. The tie rule is the published one, a
strictly better score, for all. Ranking, which both need first where nobody has kept the scores, is
timed apart: a full pass for each ingredient.
"""

import argparse
import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from finetunes import make
from machine import machine
from programs import answer

import soup
from soup.cli.heldout_folder import open_evaluator
from soup.evaluation.evaluator import Evaluator
from soup.evaluation.metrics import correct, margins
from soup.models import Architecture, build
from soup.weights import Weights

PEER = Path(__file__).parent / "peers" / "published_greedy.py"


def published(cache: Path, count: int, batch: int, workers: int) -> dict[str, Any]:
    """The published loop in a process of its own."""
    return answer(PEER, cache, count, batch, workers)


def ours(paths: list[Path], cache: Path, batch: int, early: bool) -> dict[str, Any]:
    """The same with this library; `early` is whether a candidate may be rejected early."""
    build(Architecture.load(cache / "model.json"))  # whose imports are not timed
    start = time.perf_counter()
    # The published ranking takes equal scores in reverse.
    checkpoints = {path.stem: soup.Checkpoint(path) for path in reversed(paths)}
    exam = decoded_anew(cache / "heldout", checkpoints[paths[0].stem], batch)
    ready = time.perf_counter()
    labels, answers, known = exam.examples.labels, {}, {}
    for name, weights in checkpoints.items():
        logits = exam.logits(weights)
        answers[name], known[name] = correct(logits, labels), margins(logits, labels)
    ranked = time.perf_counter()
    ingredients = [
        soup.Ingredient(name, weights, int((~answers[name]).sum()))
        for name, weights in checkpoints.items()
    ]
    [judge] = exam.judges([*answers.values()], margins=known)

    def full(weights: Weights, at_most: float | None = None) -> float | None:
        del at_most
        return judge(weights)

    cooked = soup.greedy(ingredients, judge if early else full, tie="reject")
    done = time.perf_counter()
    out = cache / "soup.safetensors"
    soup.save(cooked.weights, out)
    return {
        "rank": ranked - ready,
        "greedy": ready - start + done - ranked,
        "kept": list(cooked.kept),
        "errors": cooked.errors,
        "digest": hashlib.sha256(out.read_bytes()).hexdigest(),
        "looked at": sum(judge.examples_seen) / (len(judge.examples_seen) * len(exam)),
    }


def decoded_anew(folder: Path, weights: soup.Checkpoint, batch: int) -> Evaluator:
    """The held-out images as `soup cook` opens them, nothing being left of an earlier run."""
    with (
        tempfile.TemporaryDirectory() as fresh,
        patch("soup.cli.heldout_folder.CACHE", Path(fresh)),
    ):
        evaluator = open_evaluator(folder, None, weights, batch_size=batch)
        evaluator.examples.compact(np.arange(1))  # decodes all, into the cache
        return evaluator


def compare(
    paths: list[Path], cache: Path, batch: int, workers: int, rounds: int
) -> dict[str, object]:
    """A row of the table: every way in turns, the fastest round of each."""
    turns: dict[str, list[dict[str, Any]]] = {"published": [], "full": [], "ours": []}
    for _ in range(rounds):
        turns["published"].append(published(cache, len(paths), batch, workers))
        turns["full"].append(ours(paths, cache, batch, early=False))
        turns["ours"].append(ours(paths, cache, batch, early=True))

    def best(way: str, *parts: str) -> float:
        return float(min(sum(turn[part] for part in parts) for turn in turns[way]))

    theirs, full, own = (turns[way][0] for way in turns)
    return {
        "published, s": best("published", "greedy"),
        "ours, every pass full, s": best("full", "greedy"),
        "ours, s": best("ours", "greedy"),
        "faster by": best("published", "greedy") / best("ours", "greedy"),
        "with ranking": best("published", "greedy", "rank") / best("ours", "greedy", "rank"),
        "passes saved": f"{1 - own['looked at']:.0%}",
        "kept": len(own["kept"]),
        "errors": own["errors"],
        "same kept as published": theirs["kept"] == own["kept"],
        "same bytes as full": full["digest"] == own["digest"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="holds train/<class>/<image>.jpg")
    parser.add_argument("--base", type=Path, help="model.json, model.safetensors")
    parser.add_argument(
        "--made", type=Path, help="what --cache has, of `mehl_models.py` for example"
    )
    parser.add_argument("--cache", type=Path, default=Path(".cache/benchmarks/greedy"))
    parser.add_argument("--models", type=int, default=24, help="ingredients in a set")
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 20, 40], help="one a set")
    parser.add_argument("--heldout", type=int, default=300, help="held-out images of each class")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2, help="of the published loader")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(machine())
    rows = []
    for steps in arguments.steps if arguments.made is None else [0]:
        cache = arguments.made or arguments.cache / f"{steps}-steps"
        if arguments.made is None:
            given = (arguments.models, arguments.heldout, steps)
            paths = make(arguments.data, arguments.base, cache, *given)
        else:
            paths = [cache / f"model_{index:02}.safetensors" for index in range(arguments.models)]
        row = compare(paths, cache, arguments.batch, arguments.workers, arguments.rounds)
        rows.append({"ingredients": f"{len(paths)} of {steps or 'given'} steps", **row})
    images = len(list((cache / "heldout").rglob("*.*")))
    print(f"\n{images} held-out photographs; {arguments.rounds} rounds, the fastest of each way")
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".2f"))


if __name__ == "__main__":
    main()
