"""The soups of several finished sweeps, side by side: mean accuracies, gains, and each sweep's p.

    python benchmarks/seeds.py out/pacs-s0 out/pacs-s1 out/pacs-s2

Reads `results.csv` and `compared.csv`, which evaluate wrote; the sweeps have the same recipes and
splits, and differ in `sweep.seed`. Accuracies are in %, gains in points over the best single
model (on held-out) of the same sweep.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

SINGLE = "best single"


def accuracies(folders: list[Path]) -> pd.DataFrame:
    """Mean accuracy in %, a row for each model that is no fine-tune, a column for each split."""
    frames = [pd.read_csv(folder / "results.csv") for folder in folders]
    every = pd.concat(frame[frame["kind"] != "ingredient"] for frame in frames)
    table = every.pivot_table(index="model", columns="split", values="accuracy", sort=False)
    return 100 * table


def gains(folders: list[Path]) -> pd.DataFrame:
    """A row for each recipe and split: the gain's mean, and the gain, interval and p of each."""
    each = [
        pd.read_csv(folder / "compared.csv").set_index(["recipe", "split"]) for folder in folders
    ]
    rows = []
    for recipe, split in dict.fromkeys(key for frame in each for key in frame.index):
        found = [frame.loc[(recipe, split)] for frame in each if (recipe, split) in frame.index]
        values = [100 * row["difference"] for row in found]
        rows.append(
            {
                "recipe": recipe,
                "split": split,
                "mean": f"{np.mean(values):+.2f}",
                "each": " ".join(
                    f"{100 * row['difference']:+.2f} ({100 * row['low']:+.2f} to "
                    f"{100 * row['high']:+.2f}, p {row['p_value']:.2g})"
                    for row in found
                ),
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="out/EXPERIMENT of each sweep")
    folders = parser.parse_args().folders
    print(accuracies(folders).round(2).to_string())
    print()
    print(gains(folders).to_string(index=False))


if __name__ == "__main__":
    main()
