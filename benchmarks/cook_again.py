"""Cook again with another recipe, then evaluate: beside an earlier commit, on the same files.

    python benchmarks/cook_again.py [--quick] [--against COMMIT]

16 EfficientNet-Lite0 of random weights at 96 pixels, imported as a finished sweep; random pictures:
600 held out, 1,200 of test, 1,200 of a shift. Each version makes a project of its own in a process
of its own. What is timed is the work of the stages cook and evaluate in this process, without
imports: of a second recipe, after another one was evaluated. The answers count as too large to be
stored with the runs (more than 8 MiB a model and split, as ImageNet's are), by
`keep_predictions: []`. 3 minutes on 2 cores that are not otherwise busy.

With --small also of answers that are stored with the runs, where the earlier commit made no pass
either, but asked MLflow for each model and split.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
from lanes import code_of
from machine import REPO, machine
from programs import answer

PEER = Path(__file__).parent / "peers" / "cooking_again.py"
BEFORE = "0a22087"  # the last commit that kept answers with runs alone
STEPS = {"again": "answers stored with runs", "large": "larger answers"}


def timed(code: Path, folder: Path, *numbers: object) -> dict[str, Any]:
    """What the peer says with one version of the code."""
    with patch.dict(os.environ, {"PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1"}):
        return answer(PEER, folder, *numbers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--against", default=BEFORE, help="a commit")
    parser.add_argument("--model", default="tf_efficientnet_lite0", help="of timm")
    parser.add_argument("--pixels", type=int, default=96)
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--images", type=int, default=600, help="held out; twice as many of others")
    parser.add_argument("--quick", action="store_true", help="4 models, 70 images")
    parser.add_argument("--small", action="store_true", help="see above")
    given = parser.parse_args()
    models, images = (4, 70) if given.quick else (given.models, given.images)
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        codes = {"before": code_of(given.against, folder / "code"), "now": REPO}
        steps = ["again", "large"] if given.small else ["large"]
        # The earlier commit passes all models for large answers, whether others came before or not.
        first = {"before": ["first"] if given.small else [], "now": ["first"]}
        answers = {
            way: timed(
                code,
                *(folder / way, given.model, given.pixels, models, images),
                ",".join([*first[way], *steps]),
            )
            for way, code in codes.items()
        }
    rows = [
        {
            "a second recipe": STEPS[step],
            **{f"{way}, s": told[step] for way, told in answers.items()},
            "of it cook, s": answers["now"][f"{step}, cook"],
            "now / before": answers["now"][step] / answers["before"][step],
            "same tables": len({told[f"{step}, results"] for told in answers.values()}) == 1,
        }
        for step in steps
    ]
    print(f"\n{models} models; against commit {given.against}")
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".2f"))


if __name__ == "__main__":
    main()
