"""The linear probe: ours beside training the head through the frozen backbone in each epoch.

    .venv/bin/python benchmarks/probe.py --data data/cifar10 --base data/base-tinyimagenet

Each way in a process of its own (`peers/probing.py`), in turns, the fastest round of each, from
JPEG in folders to the trained head; ours writes the probed model and scores it on held-out as well,
inside the time. It is run twice: with nothing kept of earlier runs, and with another penalty, where
the features are there. The usual way is run with each learning rate, and the best of them on test
is shown, which favours it; the time is that of one.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import pandas as pd
from finetunes import opened
from machine import machine
from programs import answer

from soup import save
from soup.config.data import Data, HeldOut
from soup.data.split.prepare import prepare

PEER = Path(__file__).parent / "peers" / "probing.py"


def set_up(data: Path, base: Path, cache: Path, images: int, heldout: int) -> Path:
    """The folder that the ways work in, with links to the photographs."""
    folder = cache / f"{images}-{heldout}"
    if (folder / "development.csv").exists():
        return folder
    classes = sorted(each.name for each in (data / "train").iterdir() if each.is_dir())
    for split in ("train", "test"):
        for name in classes:
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for path in sorted((data / split / name).iterdir())[:images]:
                link = folder / split / name / path.name
                if not link.exists():
                    link.symlink_to(path.resolve())
    architecture, model = opened(base, tuple(classes))
    architecture.save(folder / "start" / "model.json")
    save(model.state_dict(), folder / "start" / "model.safetensors")
    split = prepare(Data(root=".", heldout=HeldOut(per_class=heldout)), folder)
    (folder / "development.csv").write_text(split.development.to_csv())
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="holds train/ and test/ folders")
    parser.add_argument("--base", type=Path, required=True, help="model.json, model.safetensors")
    parser.add_argument("--cache", type=Path, default=Path(".cache/benchmarks/probe"))
    parser.add_argument("--images", type=int, default=1500, help="of each class and split, at most")
    parser.add_argument("--heldout", type=int, default=100, help="of each class, by ours alone")
    parser.add_argument("--epochs", type=int, default=10, help="of the usual way")
    parser.add_argument("--lr", type=float, nargs="+", default=[3e-3, 1e-2, 3e-2])
    parser.add_argument("--penalty", type=float, default=1e-4)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2, help="of the usual loader")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(machine())
    folder = set_up(given.data, given.base, given.cache, given.images, given.heldout)
    shared = [given.epochs, given.batch, given.workers, given.threads]
    turns: dict[str, list[dict[str, Any]]] = {}
    for number in range(given.rounds):
        rates = given.lr if number == 0 else given.lr[:1]
        for lr in rates:
            found = answer(PEER, "published", folder, *shared, lr, 0.0)
            turns.setdefault("through the backbone", []).append(found)
        found = answer(PEER, "first", folder, *shared, 0.0, given.penalty)
        turns.setdefault("ours", []).append(found)
        found = answer(PEER, "again", folder, *shared, 0.0, given.penalty * 3)
        turns.setdefault("ours, another penalty", []).append(found)
    usual = min(each["seconds"] for each in turns["through the backbone"])
    rows = [
        {
            "way": way,
            "seconds": min(each["seconds"] for each in found),
            "faster by": usual / min(each["seconds"] for each in found),
            "test accuracy, %": 100 * max(each["accuracy"] for each in found),
        }
        for way, found in turns.items()
    ]
    count = sum(1 for _ in (folder / "train").rglob("*.*"))
    print(
        f"\n{count} photographs ({given.heldout} of each class held out by ours, which it does not "
        f"learn from); {given.epochs} epochs; {given.rounds} rounds"
    )
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".2f"))


if __name__ == "__main__":
    main()
