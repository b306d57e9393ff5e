"""Other data: fine-tunes of one model on different data sets, averaged for a data set none saw.

Wortsman et al., "Model soups", ICML 2022: CLIP and its fine-tunes on six data sets, whose backbones
are averaged; the head is the frozen text classifier of the data set at hand. On CIFAR-100, which
none was fine-tuned on, the average is 6.4 points above zero-shot CLIP.
"""

from itertools import combinations

import numpy as np
import pandas as pd

from soup.config.studies import StudyOptions
from soup.errors import BadInput
from soup.report.method_curves import method_curves
from soup.studies.bench import Bench
from soup.studies.group_gains import where, without_heldout
from soup.studies.point import mean, only
from soup.studies.study import Findings, Study
from soup.studies.subset_methods import SubsetMethods
from soup.studies.wording import difference, percent, points

ZERO_SHOT = "zero-shot"
LARGEST = 64  # subsets of each size that are averaged, at most


def run(bench: Bench, options: StudyOptions) -> Findings:
    """Average the base with the backbones of other projects, for every number of them.

    The table has the columns method ('zero-shot', 'uniform', and 'ingredient' for a backbone alone
    with the text classifier), split, x (fine-tunes in the average), mean, low, high (smallest and
    largest over the subsets) and members (of a single subset).

    Raises:
        BadInput: fewer than two other projects were named.
    """
    others = [*bench.others]
    if len(others) < 2:
        raise BadInput(
            "study other-data needs two or more finished projects of the same base on other data, "
            f"and got {len(others)}: name each by --other FILE"
        )
    methods, splits = SubsetMethods(bench), without_heldout(bench.splits)
    rows = [
        _row(ZERO_SHOT if name == ZERO_SHOT else "ingredient", split, count, [accuracy], name)
        for count, names in ((0, [ZERO_SHOT]), (1, others))
        for name in names
        for split, accuracy in zip(splits, methods.of_average((name,), splits), strict=True)
    ]
    rng = np.random.default_rng(options.seed)
    with bench.counted("other data", len(others)) as advance:
        for count in range(1, len(others) + 1):
            subsets = [*combinations(others, count)]
            if len(subsets) > LARGEST:
                subsets = [subsets[i] for i in rng.choice(len(subsets), LARGEST, replace=False)]
            scores = [methods.of_average((ZERO_SHOT, *subset), splits) for subset in subsets]
            members = ", ".join(subsets[0]) if len(subsets) == 1 else ""
            rows += [
                _row("uniform", split, count, [of[place] for of in scores], members)
                for place, split in enumerate(splits)
            ]
            advance()
    columns = ["method", "split", "x", "mean", "low", "high", "members"]
    table = pd.DataFrame(rows, columns=columns)
    figure = method_curves(
        table, splits, "Fine-tunes on other data", "Zero-shot accuracy by number of backbones"
    )
    return Findings(table, figure, _sentence(bench, table, others, splits))


def _row(
    method: str, split: str, count: int, scores: list[float], members: str
) -> tuple[str, str, int, float, float, float, str]:
    return (method, split, count, float(np.mean(scores)), min(scores), max(scores), members)


def _sentence(bench: Bench, table: pd.DataFrame, others: list[str], splits: list[str]) -> str:
    parts, above = [], []
    for split in splits:
        compared = difference(
            bench,
            bench.rights(mean([ZERO_SHOT, *others]), split),
            bench.rights(only(ZERO_SHOT), split),
        )
        alone = table[(table["method"] == "ingredient") & (table["split"] == split)]
        best = alone.loc[alone["mean"].idxmax()]
        parts.append(
            f"{where(split).capitalize()} of {bench.name}, which none was fine-tuned on, the base "
            f"has {percent(compared.second, 2)}% zero-shot, and the average of it and "
            f"{len(others)} fine-tunes on other data {percent(compared.first, 2)}% "
            f"({points(compared.value)}, interval {points(compared.low)} to "
            f"{points(compared.high)}); of these alone, {best['members']} is best with "
            f"{percent(float(best['mean']), 2)}%."
        )
        if compared.low > 0:
            above.append(where(split))
    if above:
        verdict = f"The paper's gain over zero-shot shows {' and '.join(above)}."
    else:
        verdict = "The paper's gain over zero-shot (+6.4 points on CIFAR-100) does not show."
    return " ".join([*parts, verdict])


STUDY = Study(run, takes=("others",), fine_tunes=0, transplants=True)
