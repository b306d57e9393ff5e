"""Fine-tunes of one small CLIP on other data sets, averaged, on a data set that none saw.

    python examples/clip_on_other_data.py [FOLDER]

The study `other-data` where every part can be made here: a CLIP of open_clip's own classes learns
from captioned pictures of the embedded world (`tiny_clip.py`). Its data sets are the pictures of
one shape each, whose texture is to be told. It is fine-tuned on four of the shapes, and the study
asks for the fifth. About five minutes of one core. It is a toy: see docs/studies/other-data.md
for what it gives, and for the paper's figures.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_clip import PROMPT, Quiet, record, train

from soup.config.params import parse
from soup.pipeline.demo import image_folders, shapes
from soup.pipeline.project import Project
from soup.pipeline.stages import base, cook, evaluate, prepare, probe, study
from soup.pipeline.sweep.opening import open_sweep

SIZES = {"train": 4000, "test": 4000, "sketch": 4000}
UNSEEN, *SEEN = shapes.SHAPES[:5]
RUNS = 2


def parameters(root: Path, shape: str, clip: tuple[str, str]) -> dict[str, Any]:
    """The parameters of the project on the pictures of one shape."""
    names = sorted(name for name in shapes.CLASSES if name.startswith(f"{shape}-"))
    return {
        "experiment": shape,
        "data": {
            "root": str(root / "data" / shape),
            "heldout": {"fraction": 0.25},
            "shifts": {"sketch": {"folder": "sketch"}},
        },
        "base": {
            **{"library": "open_clip", "model": clip[0], "weights": clip[1], "head": "zeroshot"},
            "class_names": [" ".join(reversed(name.split("-"))) for name in names],
            "templates": [PROMPT],
        },
        "probe": {"max_iterations": 0},  # fine-tunes start from the text classifier
        "sweep": {
            "runs": RUNS,
            "batch_size": 64,
            "space": {"lr": [3e-4, 6e-4], "weight_decay": [0.01], "epochs": [4]},
            "method": "grid",
        },
        "evaluate": {"bootstrap": 1000},
        "register": {"model": shape},
        "compute": {"device": "cpu"},
        "studies": {"other-data": {"others": [f"{other}.json" for other in SEEN]}}
        if shape == UNSEEN
        else {},
    }


def fine_tuned(root: Path, shape: str, clip: tuple[str, str]) -> Project:
    """The finished project of one shape, with its parameter file beside."""
    for split in SIZES:
        for name in shapes.CLASSES:
            if name.startswith(f"{shape}-"):
                place = root / "data" / shape / split / name
                shutil.copytree(root / "drawn" / split / name, place)
    given = parameters(root, shape, clip)
    (root / f"{shape}.json").write_text(json.dumps(given))
    project = Project(root, parse(given), {"flow_run": "none"})
    for stage in (prepare, base, probe):
        record(project, stage.__name__.rpartition(".")[2], stage.run(project))
    sweep = open_sweep(project, code="example", threads=1)
    outcomes: dict[str, dict[str, str] | BaseException] = {
        name: sweep.run(name, ("cpu",), Quiet()) for name in sweep.steps
    }
    record(project, "finetune", sweep.close(outcomes))
    record(project, "cook", cook.run(project, "example"))
    record(project, "evaluate", evaluate.run(project, "example"))
    return project


def run(root: Path) -> Path:
    """Make everything below `root`; returns the folder with the study's table and figure."""
    clip = train(root / "clip")
    image_folders.write(root / "drawn", 0, SIZES, lambda *_: np.zeros(0, bool))
    projects = {shape: fine_tuned(root, shape, clip) for shape in (UNSEEN, *SEEN)}
    found = study.run(projects[UNSEEN], "other-data", f"{UNSEEN}.json")
    print(f"\n{found['sentence']}")
    return projects[UNSEEN].out / study.FOLDER


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    print(f"the table and the figure are in {run(folder)}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
