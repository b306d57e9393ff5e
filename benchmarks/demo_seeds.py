"""Does the demo's soup help, or was it the seed? The whole demo over several seeds.

    .venv/bin/python benchmarks/demo_seeds.py --seeds 5

Everything is fresh in every seed: images, pretraining, reference, search, augmentation. Each runs
in a folder of its own; prints the gain of the greedy soup over the best single model, and its mean.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import yaml

REPO = Path(__file__).resolve().parents[1]
KINDS = ("best single", "uniform", "greedy", "ensemble")


def run(seed: int, folder: Path) -> dict[str, object]:
    """One demo in a folder of its own; its figures in percent."""
    params = yaml.safe_load((REPO / "params.yaml").read_text())
    params["data"]["shapes"]["seed"] = seed
    params["base"]["pretrain"]["seed"] = seed
    params["sweep"]["seed"] = seed
    for name in ("soup", "flows"):
        shutil.copytree(REPO / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPO / "dvc.yaml", folder)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    own = {"MODELSOUP_ROOT": str(folder), "PREFECT_HOME": str(folder / ".prefect")}
    environment = {**os.environ, **own, "PYTHONPATH": str(folder)}
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        environment.pop(name, None)
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "flows.pipeline"], cwd=folder, env=environment, check=True
    )
    wall = time.monotonic() - started
    out = folder / "out" / params["experiment"]
    results = pd.read_csv(out / "results.csv").set_index(["kind", "split"])["accuracy"] * 100
    figures: dict[str, object] = {"seed": seed}
    for kind in KINDS:
        test, shifts = results[kind, "test"], results[kind, "shifts"]
        figures[kind] = f"{test:.2f} / {shifts:.2f}"
    for split in ("heldout", "test", "shifts"):
        figures[f"gain {split}"] = results["greedy", split] - results["best single", split]
    figures["kept"] = len(json.loads((out / "cook.json").read_text())["kept"])
    figures["seconds"] = round(wall)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="how many at once")
    arguments = parser.parse_args()

    def one(seed: int) -> dict[str, object]:
        with tempfile.TemporaryDirectory() as folder:
            return run(seed, Path(folder))

    with ThreadPoolExecutor(arguments.jobs) as pool:
        chosen = range(arguments.first, arguments.first + arguments.seeds)
        frame = pd.DataFrame(pool.map(one, chosen))
    gains = frame.filter(like="gain ")
    print(frame.to_markdown(index=False, floatfmt="+.2f"))
    print("\nmean gain of greedy over the best single model, points:")
    for name in gains:
        spread = gains[name].std(ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
        print(f"  {name[5:]:8} {gains[name].mean():+.2f} (standard error {spread:.2f})")


if __name__ == "__main__":
    main()
