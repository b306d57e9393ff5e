"""Three studies of the paper from results alone: no weights, no predictions.

Wortsman et al., "Model soups", ICML 2022: how the best single model grows with the number of
models, how hyperparameters go with accuracy, and the best single model against the soups. The
paper's values stand beside those that are computed from its published files.
"""

import pandas as pd

from soup.report import formatting
from soup.report.figures import accuracy_plane
from soup.report.method_curves import method_curves
from soup.report.setting_points import setting_points
from soup.studies.best_of_count import best_of_count
from soup.studies.pool_of_results import ResultPool
from soup.studies.setting_effects import means_by_range, rank_correlations
from soup.studies.study import Findings

# The paper's CLIP ViT-B/32 fine-tuned on ImageNet: test, and the mean of five shifts.
PAPER = {
    "best single": (0.8038, 0.4783),
    "uniform": (0.7997, 0.5145),
    "greedy": (0.8103, 0.5075),
    "ensemble": (0.8119, 0.5077),
    "greedy ensemble": (0.8190, 0.4944),
}
PAPER_MODELS = 72
COUNTS = (1, 2, 4, 8, 16, 32, 64)
NAMES = {"lr": "the learning rate", "epochs": "the number of epochs"}
RATES = (3e-6, 3e-5, 5e-5)  # bounds of the ranges of learning rates, in the published pool


def is_published(pool: ResultPool) -> bool:
    """Whether a pool is the paper's 72 models, with whose soups it can be compared."""
    names = {f"model_{number}" for number in range(PAPER_MODELS)}
    return set(pool.scores.index) == names


def soups_of(pool: ResultPool) -> pd.DataFrame:
    """The soups and ensembles of all models: of the results, or else the paper's.

    Columns method, split, accuracy.
    """
    rows = []
    for place, split in enumerate(("test", "shifts")):
        for method in [*PAPER][1:]:
            known = pool.of_kind(method)
            if split in known:
                rows.append((method, split, float(known[split])))
            elif is_published(pool):
                rows.append((method, split, PAPER[method][place]))
    return pd.DataFrame(rows, columns=["method", "split", "accuracy"])


def number_of_models(pool: ResultPool) -> Findings:
    """How accurate the best single model of K is, for each K, beside the soups of all models."""
    curve = best_of_count(pool.scores, pool.splits)
    models = len(pool.scores)
    soups = soups_of(pool).rename(columns={"accuracy": "mean"}).assign(x=models)
    figure = method_curves(
        pd.concat([curve, soups], ignore_index=True),
        pool.splits,
        "Models",
        "Best single model of K, and soups of all models",
        log=True,
    )
    chosen = curve[curve["x"].isin([*COUNTS, models])]
    table = chosen.pivot_table(["mean", "low", "high"], "x", "split", sort=False)
    flat = pd.DataFrame({"models": [*table.index]})
    for split in pool.splits:
        for column in ("mean", "low", "high"):
            name = formatting.split(split)
            flat[name if column == "mean" else f"{name}, {column}"] = table[column][
                split
            ].to_numpy()
    sentences = [_growth(curve, split) for split in pool.splits]
    return Findings(flat, figure, " ".join(sentences))


def _growth(curve: pd.DataFrame, split: str) -> str:
    of_split = curve[curve["split"] == split].set_index("x")["mean"]
    first, last = float(of_split.iloc[0]), float(of_split.iloc[-1])
    peak = int(of_split.idxmax())
    text = (
        f"{_place(split)} one random model has {formatting.percent(first, 2)}% on average, and the "
        f"best on held-out of all {len(of_split)} has {formatting.percent(last, 2)}% "
        f"({formatting.points(last - first)})"
    )
    if float(of_split.max()) > last + 5e-5:
        text += f"; with {peak} it is higher, {formatting.percent(float(of_split.max()), 2)}%"
    return text + "."


def _place(split: str) -> str:
    return "Under shift" if split == "shifts" else f"On {formatting.split(split)}"


def hyperparameters(pool: ResultPool) -> Findings:
    """How each hyperparameter goes with held-out, test and shift accuracy."""
    splits = ["heldout", *pool.splits]
    scores, settings = pool.scores, pool.settings
    table = rank_correlations(scores, settings, splits)
    rates = pd.to_numeric(settings["lr"]) if "lr" in settings else pd.Series(dtype=float)
    sentences = [_strongest(table, split) for split in splits if len(table)]
    if is_published(pool) and len(rates):
        sentences.append(_large_rates(means_by_range(scores, rates, RATES, pool.splits)))
    others = scores[splits].corr()["heldout"]
    told = [f"{others[split]:.2f} with {_accuracy(split)}" for split in pool.splits]
    sentences.append(f"Held-out accuracy correlates {' and '.join(told)}.")
    figure = setting_points(scores, rates.rename("learning rate"), pool.splits)
    return Findings(table, figure, " ".join(sentences))


def _large_rates(ranges: pd.DataFrame) -> str:
    middle, large = ranges.iloc[1], ranges.iloc[-1]
    told = [
        f"{formatting.percent(row['test'])} / {formatting.percent(row['shifts'])}"
        for row in (large, middle)
    ]
    return (
        f"The {large['models']:.0f} models of learning rates above {RATES[-1]:g} have {told[0]} "
        f"on test / under shift on average, and those between {RATES[0]:g} and {RATES[1]:g} "
        f"{told[1]}."
    )


def _strongest(table: pd.DataFrame, split: str) -> str:
    row = table.loc[table[split].abs().idxmax()]
    name = str(row["setting"]).replace("_", " ")
    direction = "higher" if row[split] > 0 else "lower"
    sign = "+" if row[split] > 0 else "\u2212"
    return (
        f"Of all settings, {NAMES.get(name, name)} goes most with {_accuracy(split)}: the larger "
        f"it is, the {direction} the accuracy (rank correlation {sign}{abs(row[split]):.2f}, "
        f"p {_equals(formatting.probability(float(row[f'{split} p'])))})."
    )


def _equals(probability: str) -> str:
    return probability if probability.startswith("<") else f"= {probability}"


def _accuracy(split: str) -> str:
    """What a sentence calls the accuracy on a split."""
    return "accuracy under shift" if split == "shifts" else f"{formatting.split(split)} accuracy"


def best_against_soup(pool: ResultPool) -> Findings:
    """The best single model beside the soups of all models, and how many models reach those."""
    scores, best = pool.scores, pool.scores.loc[pool.best_single]
    soups = soups_of(pool)
    published = is_published(pool)
    rows = []
    for place, split in enumerate(("test", "shifts")):
        if split not in pool.splits:
            continue
        row = {"method": "best single", "split": split, "here": float(best[split])}
        rows.append(row | ({"paper": PAPER["best single"][place]} if published else {}))
        for method, _, accuracy in soups[soups["split"] == split].itertuples(index=False):
            here = pool.of_kind(method).get(split, float("nan"))
            better = int((scores[split] > accuracy).sum())
            row = {"method": method, "split": split, "here": float(here)}
            row |= {"gain": accuracy - float(best[split]), "single models above": better}
            rows.append(row | ({"paper": PAPER[method][place]} if published else {}))
    table = pd.DataFrame(rows)
    extra = soups.assign(kind=soups["method"], model=soups["method"])
    single = best.rename("accuracy").rename_axis("split").reset_index()
    single = single.assign(model="best single", kind="best single")
    singles = pool.results[pool.results["kind"].isin(["ingredient", "probe"])]
    plane = pd.concat([singles, extra.drop(columns="method"), single], ignore_index=True)
    bounds = {c: plane[c] if c in plane else float("nan") for c in ("low", "high")}
    figure = accuracy_plane(plane.assign(**bounds), "greedy")
    sentences = tuple(_against(table, split) for split in pool.splits if len(soups))
    return Findings(table, figure, " ".join(sentences))


def _against(table: pd.DataFrame, split: str) -> str:
    of_split = table[table["split"] == split].set_index("method")
    greedy = of_split.loc["greedy"] if "greedy" in of_split.index else of_split.iloc[1]
    above = int(greedy["single models above"])
    which = {0: "no single model reaches it", 1: "1 single model is above it"}.get(
        above, f"{above} single models are above it"
    )
    return (
        f"{_place(split)} the {greedy.name} soup is "
        f"{formatting.points(float(greedy['gain']))} points from the best single model "
        f"({formatting.percent(float(of_split.loc['best single', 'here']), 2)}%); {which}."
    )


STUDIES = {
    "number-of-models": number_of_models,
    "hyperparameters": hyperparameters,
    "best-against-soup": best_against_soup,
}
