"""Distillation: the ensemble of a sweep distilled into one model, beside the soup.

Wortsman et al., "Model soups", ICML 2022: a soup costs as much to run as one model, and an ensemble
of K as much as K. Distillation (Hinton et al., 2014) also turns the ensemble into one model, for
the price of a further training. The student starts where the fine-tunes do, and is trained like the
best single one, on the ensemble's probabilities; no label is used.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from soup.config.studies import StudyOptions
from soup.errors import BadInput
from soup.evaluation.metrics import Correct
from soup.files import of_value
from soup.report.gain_rows import gain_rows
from soup.studies.bench import Bench
from soup.studies.group_gains import where, without_heldout
from soup.studies.point import only
from soup.studies.study import Findings, Study
from soup.studies.subset_methods import SubsetMethods
from soup.studies.wording import difference, percent, points

STUDENT = "distilled"
METHODS = ("best single", "uniform", "greedy", STUDENT, "ensemble")
LABELLED = "heldout"
UNLABELLED = "train"


def run(bench: Bench, options: StudyOptions) -> Findings:
    """Train the student, and score it beside the soups and the ensemble.

    The table has the columns method, split, passes (models that are run for one answer), accuracy,
    and gain, low, high, p: the difference from the best single model.

    Raises:
        BadInput: the best single model's rate or number of epochs is not known.
    """
    methods = SubsetMethods(bench)
    examples = options.examples or UNLABELLED
    members = bench.ranked
    single = bench.models[members[0]]
    lacking = [name for name in ("lr", "epochs") if single.settings.get(name) in (None, "None")]
    if lacking:
        raise BadInput(
            "study distillation trains with the hyperparameters of the best single model, and "
            f"{members[0]} was imported without {' and '.join(lacking)}"
        )
    probabilities = teacher(bench, examples)
    made_of = [bench.models[name].digest for name in (bench.base, *members) if name]
    settings = dict(single.settings)
    digest = of_value([made_of, bench.sets[examples].digest, settings_text(settings), options.seed])
    student = bench.teach(digest, bench.sets[examples], probabilities, settings, options.seed)
    bench.models[STUDENT] = student
    rows = []
    for split in bench.splits:
        first = methods.rights("best single", members, split)
        for method in METHODS:
            right = _rights(bench, methods, method, split)
            compared = difference(bench, right, first)
            row: dict[str, Any] = {"method": method, "split": split, "examples": examples}
            row |= {"passes": len(members) if method == "ensemble" else 1}
            row |= {"accuracy": compared.first, "gain": compared.value}
            rows.append(row | {"low": compared.low, "high": compared.high, "p": compared.p})
    table = pd.DataFrame(rows)
    shown = table.assign(kind="over best single")
    figure = gain_rows(
        shown, without_heldout(bench.splits), "Gain of soups, distilled model and ensemble"
    )
    return Findings(table, figure, _sentence(bench, methods, table, len(bench.sets[examples])))


def teacher(bench: Bench, split: str) -> NDArray[np.float64]:
    """The probabilities of the ensemble of all fine-tunes on a split, (examples, classes)."""
    from scipy.special import softmax

    columns = bench.targets[split].columns
    total = np.zeros((len(bench.sets[split]), len(columns)))
    for name in bench.ranked:
        total += bench.logits(only(name), split)
    every = np.zeros((len(total), len(bench.architecture.classes)))
    every[:, columns] = softmax(total / len(bench.ranked), axis=1)  # of classes that occur
    return every


def settings_text(settings: dict[str, Any]) -> str:
    """Settings of a fine-tune in one text, for a digest."""
    return ", ".join(f"{key}={settings[key]!r}" for key in sorted(settings))


def _rights(bench: Bench, methods: SubsetMethods, method: str, split: str) -> list[Correct]:
    if method == STUDENT:
        return bench.rights(only(STUDENT), split)
    return methods.rights(method, bench.ranked, split)


def _sentence(bench: Bench, methods: SubsetMethods, table: pd.DataFrame, count: int) -> str:
    accuracy = table.set_index(["method", "split"])["accuracy"]
    parts, shows = [], []
    for split in without_heldout(bench.splits):
        compared = difference(
            bench,
            _rights(bench, methods, STUDENT, split),
            methods.rights("greedy", bench.ranked, split),
        )
        others = ", ".join(
            f"{name} {percent(float(accuracy[method, split]), 2)}"
            for method, name in (
                ("greedy", "the greedy soup"),
                ("ensemble", f"the ensemble (of {len(bench.ranked)} passes)"),
                ("best single", "the best single model"),
            )
        )
        parts.append(
            f"{where(split).capitalize()} the distilled model has "
            f"{percent(float(accuracy[STUDENT, split]), 2)}% accuracy, {others} (distilled less "
            f"greedy soup {points(compared.value)}, interval {points(compared.low)} to "
            f"{points(compared.high)})."
        )
        better = "distilled model" if compared.low > 0 else "soup" if compared.high < 0 else ""
        shows.append(f"{'the ' + better if better else 'neither beyond noise'} {where(split)}")
    return (
        f"{' '.join(parts)} At the cost of one pass the better one is: {', '.join(shows)}. The "
        f"distilled model took one more training, on {count} examples; the soup took none."
    )


STUDY = Study(run, takes=("examples",), fine_tunes=2, base=True)
