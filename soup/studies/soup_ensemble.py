"""soup-ensemble: the average of two fine-tunes against their ensemble, and an approximation.

Wortsman et al., "Model soups", ICML 2022, the analytical comparison of soups and ensembles. With
theta_a = (1 - a) theta_1 + a theta_2, f_ens = (1 - a) f(theta_1) + a f(theta_2), the inverse
temperature b that calibrates the soup, Df = f(theta_2) - f(theta_1), and L the mean loss of b f:

    L_soup(a) - L_ens(a) ~ a (1 - a) / 2 * ( - L_soup''(a)
                           + b^2 E_x Var_{Y ~ softmax(b f(x; theta_a))} [ Df_Y(x) ] )

Here a = 1/2. The second derivative is that of the polynomial of degree 4 through the losses at
a = 0, 1/4, 1/2, 3/4 and 1. b is chosen by the loss on held-out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from soup.config.studies import StudyOptions
from soup.evaluation.metrics import Labels, LabelSets, Logits, score
from soup.report import formatting
from soup.report.methods import mark
from soup.report.style import INK
from soup.studies.bench import SHIFTS, Bench
from soup.studies.drawing import panels, styled
from soup.studies.pairs import pairs_of
from soup.studies.point import between, only
from soup.studies.statistics import pair_correlation, share
from soup.studies.study import Findings, Study
from soup.studies.wording import place

POSITIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
# Of the second derivative at the middle of five values at steps of h: sum(c f) / (12 h^2).
STENCIL = np.array([-1, 16, -30, 16, -1]) / (12 * 0.25**2)
TEMPERATURES = (-3.0, 3.0)  # bounds of the logarithm of b
NUMBERS = (
    "loss_soup", "loss_ensemble", "difference", "approximation", "curvature", "variance",
    "error_soup", "error_ensemble",
)  # fmt: skip


def run(bench: Bench, options: StudyOptions) -> Findings:
    """The study; its table has a row for each pair and split."""
    pairs = pairs_of(bench, options)
    names = ["test", *bench.shifts]
    rows: list[dict[str, Any]] = []
    with bench.counted("soup-ensemble", len(pairs)) as advance:
        for first, second in pairs:
            rates = [bench.models[name].settings.get("lr") for name in (first, second)]
            known = [float(rate) for rate in rates if rate is not None]
            pair = {"first": first, "second": second, "rate": max(known, default=np.nan)}
            told = [compared(bench, first, second, split) for split in names]
            rows.append(pair | {"split": "test"} | told[0])
            if bench.shifts:
                means = {key: float(np.mean([of[key] for of in told[1:]])) for key in told[0]}
                rows.append(pair | {"split": SHIFTS} | means)
            advance()
    table = pd.DataFrame(rows)
    return Findings(table, draw(table), sentence(table, options.seed))


def compared(bench: Bench, first: str, second: str, split: str) -> dict[str, float]:
    """The numbers of a pair on a split (`NUMBERS`, and b as `inverse_temperature`)."""
    ends = [only(first), only(second)]
    points = [between(ends[0], ends[1], a) for a in POSITIONS]
    middle = points[2]

    def compute() -> dict[str, float]:
        b = inverse_temperature(bench.logits(middle, "heldout"), bench.targets["heldout"].labels)
        labels = bench.targets[split].labels
        along = [bench.logits(point, split).astype(np.float64) for point in points]
        losses = [score(b * logits, labels).nll for logits in along]
        ensemble = score(b * (along[0] + along[-1]) / 2, labels)
        curvature = float(STENCIL @ losses)
        variance = b**2 * spread(b * along[2], along[-1] - along[0])
        return {
            "inverse_temperature": b,
            "loss_soup": losses[2],
            "loss_ensemble": ensemble.nll,
            "difference": losses[2] - ensemble.nll,
            "approximation": (variance - curvature) / 8,
            "curvature": curvature,
            "variance": variance,
            "error_soup": float((~score(along[2], labels).right).mean()),
            "error_ensemble": float((~ensemble.right).mean()),
        }

    value = bench.value(["soup-ensemble"], points, ["heldout", split], compute)
    return {key: value[key] for key in ("inverse_temperature", *NUMBERS)}


def inverse_temperature(logits: Logits, labels: Labels | LabelSets) -> float:
    """The factor b of the logits at which their loss on these examples is least."""
    from scipy.optimize import minimize_scalar

    exact = logits.astype(np.float64)
    found = minimize_scalar(
        lambda log: score(np.exp(log) * exact, labels).nll, bounds=TEMPERATURES, method="bounded"
    )
    return float(np.exp(found.x))


def spread(logits: Logits, values: Logits) -> float:
    """The mean over examples of the variance of a value by class, the class drawn by softmax."""
    from scipy.special import softmax

    probabilities = softmax(logits, axis=1)
    means = (probabilities * values).sum(axis=1)
    return float(((probabilities * values**2).sum(axis=1) - means**2).mean())


@styled
def draw(table: pd.DataFrame) -> Figure:
    """The measured difference of the losses against the approximation, a panel for each split."""
    splits = [*dict.fromkeys(table["split"])]
    figure, grid = panels(
        "Loss of the soup less that of the ensemble: measured against approximated",
        rows=len(splits),
        height=2.7,
    )
    _, colour, _ = mark("uniform")
    for axes, split in zip(grid[:, 0], splits, strict=True):
        of_split = table[table["split"] == split]
        x, y = of_split["approximation"], of_split["difference"]
        axes.plot(x, y, "o", color=colour, markersize=4.5, markerfacecolor="none")
        ends = [min(x.min(), y.min()), max(x.max(), y.max())]
        axes.plot(ends, ends, color=INK, linewidth=0.6, dashes=(2, 3))
        axes.set_title(f"{formatting.split(split).capitalize()} (dashed: equal)")
        axes.xaxis.set_major_locator(MaxNLocator(5))  # long numbers run into each other
        axes.set_ylabel("Measured (nats)")
    grid[-1, 0].set_xlabel("Approximated (nats)")
    return figure


def sentence(table: pd.DataFrame, seed: int) -> str:
    """How well the approximation tells, and which of the two is better."""
    parts = []
    shows = []
    for split, of_split in table.groupby("split", sort=False):
        pairs = [*zip(of_split["first"], of_split["second"], strict=True)]
        measured, told = of_split["difference"], of_split["approximation"]
        found = pair_correlation(pairs, [*told], [*measured], seed)
        shows.append(found.low > 0)
        signs = int((np.sign(measured) == np.sign(told)).sum())
        fewer = int((of_split["error_soup"] < of_split["error_ensemble"]).sum())
        more = int((of_split["error_soup"] > of_split["error_ensemble"]).sum())
        parts.append(
            f"On {place(str(split))} the rank correlation of the approximated and the measured "
            f"difference of the losses is {found}; their signs agree for "
            f"{share(signs, len(pairs))} pairs. The average has fewer errors than the ensemble for "
            f"{share(fewer, len(pairs))} pairs, and more for {share(more, len(pairs))}."
        )
    parts.append(_of_small_rates(table, seed))
    finding = "The paper's finding, that the approximation follows the measured difference,"
    parts.append(f"{finding} {'shows' if all(shows) else 'does not show beyond noise'} here.")
    return " ".join(part for part in parts if part)


def _of_small_rates(table: pd.DataFrame, seed: int) -> str:
    """The correlation without the runs of the largest rates, for which it need not be tight."""
    of_test = table[(table["split"] == "test")]
    small = of_test[of_test["rate"] <= of_test["rate"].median()]
    if of_test["rate"].nunique() < 2 or len(small) < 3:
        return ""
    pairs: Sequence[Any] = [*zip(small["first"], small["second"], strict=True)]
    found = pair_correlation(pairs, [*small["approximation"]], [*small["difference"]], seed)
    return (
        f"Of the pairs with rates up to {formatting.setting(float(small['rate'].max()))} alone the "
        f"correlation on test is {found}."
    )


STUDY = Study(run, takes=("models", "pairs"))
