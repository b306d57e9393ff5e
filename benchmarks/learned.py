"""Learning a soup by tensor: ours beside the published loop, for the same steps; and its memory.

    .venv/bin/python benchmarks/learned.py --data data/cifar10 --base data/base-tinyimagenet \
        --rounds 3 --figure docs/learned.png
    .venv/bin/python benchmarks/learned.py --data data/cifar10 --base data/base-tinyimagenet \
        --models 64 --steps 15 --epochs 2 --rounds 1

Ingredients are short fine-tunes on real photographs (`finetunes.py`), made once into --cache. Each
way runs in a process of its own, in turns, from the files on disk to the learned shares: loading,
decoding JPEG, and the same AdamW steps on the same batches; imports are not timed. Ours is shown
with all ingredients held as a matrix, with 64 MiB of them held, and with the model's two passes in
bfloat16 (`HeldoutLoss(autocast=...)`), which the published loop does not offer. MEHL-Soup+ has no
such steps: the last table says how soon it, ours at higher rates, and ours from the answers that
the models gave when they were scored (`start: answers`; giving them is not timed) have the
published loop's held-out accuracy. "Times as fast" stands from where all later weights have it too:
one that has it by chance does not count. Memory is private (anonymous) and the main process's,
above what it was before the work; loaders are not counted. The second command takes some minutes
with --cache made.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from finetunes import decoded, make
from machine import machine
from programs import answer

from soup import Checkpoint, Weights, average
from soup.models import Architecture, build
from soup.models.transforms import normalise

PEER = Path(__file__).parent / "peers" / "learning.py"
WAYS = {
    "published": "published loop",
    "ours": "ours, held as a matrix",
    "limited": "ours, 64 MiB held, the rest streamed",
    "half": "ours, held, the model in bfloat16",
}
FREE = {
    "sooner": "ours, rate 0.4",
    "sooner-half": "ours, rate 0.4, the model in bfloat16",
    "soonest": "ours, rate 0.8",
    "answers": "ours, published rate, started from the models' kept held-out answers",
    "short": "mehl, one epoch, batches of 64, rate 0.03 of the distance",
    "small": "mehl, one epoch, batches of 32, rate 0.02 of the distance",
}


def turn(way: str, cache: Path, models: int, batch: int, epochs: int, workers: int) -> pd.Series:
    """Run one way once; what it measured."""
    out = cache / f"soup-{way}-{models}.safetensors"
    found = answer(PEER, way, cache, out, models, batch, epochs, workers, told="go\n")
    found["memory"] = found["peak"] - found["start"]
    return pd.Series({"way": way, **found})


def fastest(turns: list[pd.Series]) -> pd.DataFrame:
    """Of each way and number of models the fastest round, with the largest memory of all."""
    frame = pd.DataFrame(turns)
    key = ["models", "way"]
    best = frame.loc[frame.groupby(key, sort=False)["seconds"].idxmin()].set_index(key)
    best["memory"] = frame.groupby(key)["memory"].max()
    return best


def speed(best: pd.DataFrame) -> pd.DataFrame:
    """The table of speed and memory, ours beside the published loop."""
    rows = []
    for (models, way), row in best.iterrows():
        published, ours = best.loc[(models, "published")], best.loc[(models, "ours")]
        milli = 1000 / row["steps"]
        rows.append(
            {
                "K": models,
                "": WAYS[way],
                "seconds": row["seconds"],
                "times as fast": published["seconds"] / row["seconds"],
                "ms a step": row["seconds"] * milli,
                "images": row["images"] * milli,
                "model": row["model"] * milli,
                "mixing and rest": (row["seconds"] - row["images"] - row["model"]) * milli,
                "memory, MB": row["memory"],
                "shares differ by": max(
                    abs(a - b)
                    for name, shares in row["shares"].items()
                    for a, b in zip(shares, ours["shares"][name], strict=True)
                ),
            }
        )
    return pd.DataFrame(rows)


Right = Callable[[Weights], dict[str, float]]


def accuracy_of(cache: Path, data: Path) -> Right:
    """What gives the held-out and test accuracy of weights, in percent."""
    architecture = Architecture.load(cache / "model.json")
    model = build(architecture)
    sets = {"held-out": decoded(cache / "heldout"), "test": decoded(data / "test")}

    @torch.inference_mode()
    def right(weights: Weights) -> dict[str, float]:
        model.load_state_dict(dict(weights))
        return {
            name: 100
            * sum(
                int((model(normalise(x, architecture)).argmax(1) == y).sum())
                for x, y in zip(pixels.split(256), labels.split(256), strict=True)
            )
            / len(labels)
            for name, (pixels, labels) in sets.items()
        }

    return right


@torch.inference_mode()
def keep_answers(cache: Path, paths: list[Path]) -> None:
    """Write the held-out logits of the models by their index, as a sweep that scores them does."""
    architecture = Architecture.load(cache / "model.json")
    model, (pixels, _) = build(architecture), decoded(cache / "heldout")
    kept = {}
    for index, path in enumerate(paths):
        model.load_state_dict(dict(Checkpoint(path)))
        parts = [model(normalise(part, architecture)) for part in pixels.split(64)]
        kept[str(index)] = torch.cat(parts).numpy()
    np.savez(cache / "answers.npz", **kept)


def accuracies(cache: Path, right: Right, paths: list[Path]) -> pd.DataFrame:
    """Held-out and test accuracy, percent, of the learned soups, of their peers, of the best."""
    singles = [right(Checkpoint(path)) for path in paths]
    soups = {
        label: right(Checkpoint(cache / f"soup-{way}-{len(paths)}.safetensors"))
        for way, label in [
            *WAYS.items(),
            ("checked", "ours by default: by layer, a fifth to check"),
        ]
    }
    rows = {
        "best single on held-out": max(singles, key=lambda s: s["held-out"]),
        "uniform soup": right(average([Checkpoint(path) for path in paths])),
        **soups,
    }
    return pd.DataFrame(rows).T


def times_to_accuracy(cache: Path, right: Right, best: pd.DataFrame, models: int) -> pd.DataFrame:
    """How soon the ways of `FREE` have the held-out accuracy of the published loop.

    Args:
        best: of each way the fastest round.
        models: as many as the published loop had.
    """
    published = best.loc[(models, "published")]
    target = right(Checkpoint(cache / f"soup-published-{models}.safetensors"))["held-out"]
    rows = []
    for way, label in FREE.items():
        if (models, way) not in best.index:
            continue
        reached = best.loc[(models, way), "reached"]
        files = [cache / f"soup-{way}-{models}.{n + 1}.safetensors" for n in range(len(reached))]
        scores = [right(Checkpoint(file)) for file in files]
        for check, (seconds, score) in enumerate(zip(reached, scores, strict=True)):
            stays = all(later["held-out"] >= target for later in scores[check:])
            after = f"epoch {check}" if way in ("short", "small") else f"{2 * check} steps"
            rows.append(
                {
                    "": label,
                    "after": after,
                    **{f"{name}, %": value for name, value in score.items()},
                    "seconds": seconds,
                    "times as fast": f"{published['seconds'] / seconds:.1f}x" if stays else "",
                }
            )
    return pd.DataFrame(rows)


def draw(best: pd.DataFrame, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for way, label in WAYS.items():
        rows = best.xs(way, level="way")
        axes[0].plot(rows.index, rows["memory"], "o-", label=label)
        axes[1].plot(rows.index, 1000 * rows["seconds"] / rows["steps"], "o-", label=label)
    axes[0].set_ylabel("private memory, MB")
    axes[1].set_ylabel("milliseconds a step")
    for axis in axes:
        axis.set_xlabel("ingredients")
        axis.set_xticks(best.index.unique("models"))
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folders train and test")
    parser.add_argument("--base", type=Path, required=True, help="model.safetensors, model.json")
    parser.add_argument("--cache", type=Path, default=Path(".cache/benchmarks/learned"))
    parser.add_argument("--models", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--heldout", type=int, default=200, help="images of each class")
    parser.add_argument("--steps", type=int, default=60, help="of each fine-tune")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=8, help="loader processes, published: 8")
    parser.add_argument(
        "--ways", nargs="+", choices=FREE, default=[*FREE], help="of the last table"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    cache = given.cache.resolve()
    paths = make(given.data, given.base, cache, max(given.models), given.heldout, given.steps)
    asked = given.batch, given.epochs, given.workers
    turns = [
        turn(way, cache, models, *asked)
        for models in given.models
        for _ in range(given.rounds)
        for way in WAYS
    ]
    most = max(given.models)
    turn("checked", cache, most, *asked)
    best = fastest(turns)
    keep_answers(cache, paths)
    free = fastest(
        [turn(way, cache, most, *asked) for _ in range(given.rounds) for way in given.ways]
    )
    print(machine())
    print(
        f"\nbatches of {given.batch}, {given.epochs} epochs, {given.rounds} rounds; times in ms\n"
    )
    decimals = ("", "", ".2f", ".2f", ".0f", ".0f", ".0f", ".0f", ".0f", ".0e")
    print(speed(best).to_markdown(index=False, floatfmt=decimals))
    if given.figure:
        draw(best, given.figure)
    print(f"\naccuracy, percent, of soups of {len(paths)}\n")
    right = accuracy_of(cache, given.data)
    print(accuracies(cache, right, paths).to_markdown(floatfmt=".2f"))
    print("\nseconds to the held-out accuracy of the published loop\n")
    reached = times_to_accuracy(cache, right, pd.concat([best, free]), most)
    print(reached.to_markdown(index=False, floatfmt=".2f"))


if __name__ == "__main__":
    main()
