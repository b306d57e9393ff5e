"""The page: the results of a run in one HTML file that opens from disk and loads nothing.

Figures are inline SVG, the style sheet is in the page, and a content security policy forbids every
request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from soup.report import figures, formatting, tables
from soup.report.caveats import caveats
from soup.report.greedy_trace import greedy_trace
from soup.report.headline import verdict


@dataclass(frozen=True)
class Report:
    """The data on the page. Accuracies are fractions; unknown values are NaN or absent."""

    title: str
    recipe: str
    """The kind of the chosen soup in `results`: its recipe, with options in brackets."""
    results: pd.DataFrame
    """A row for each model and split: model, kind, split, n, accuracy, low, high, nll, ece."""
    ingredients: pd.DataFrame
    """name, run_id, url, status, reason, kept, heldout_accuracy; the rest are hyperparameters."""
    trace: pd.DataFrame
    """step, name, heldout_errors (NaN: dropped early), at_most, kept, examples_seen, heldout_n."""
    tests: pd.DataFrame
    """Soup against best single: split, soup_only, single_only, p_value, difference, low, high."""
    lineage: Mapping[str, str]
    """Label to value, in the order to show; a value that starts with http becomes a link."""
    stage_seconds: Mapping[str, formatting.Number]
    """Stage to its duration in seconds."""
    use: Mapping[str, str] = field(default_factory=dict)
    """How to use the soup: label to a command or code, in the order to show."""
    warnings: Sequence[str] = ()
    """What else a reader should know before believing the headline."""
    score: str = ""
    """The score that the soup was chosen by, with columns in results and tests; "": `measure`."""
    measure: str = "accuracy"
    """What the columns called accuracy hold: "accuracy", or the score of predicted numbers. In the
    second case soup_only and single_only count the examples on which this model is closer."""
    costs: Mapping[str, Mapping[str, formatting.Number]] = field(default_factory=dict)
    """Kind of soup -> passes (of all held-out examples), seconds and bytes that making it took."""
    studies: Sequence["Study"] = ()
    """The studies of the sweep that are done."""


@dataclass(frozen=True)
class Study:
    """A study of the sweep.

    Attributes:
        name, question: of the study.
        sentence: its answer.
        figure: an `<svg>` element, as `figures.svg` writes it.
        table: all numbers.
    """

    name: str
    question: str
    sentence: str
    figure: str
    table: pd.DataFrame


STUDY_ROWS = 30  # of a study's table that are on the page


def page(report: Report) -> str:
    """Return the report as one HTML document; the same report gives the same bytes."""
    drawn = {
        "plane": figures.accuracy_plane(report.results, report.recipe, report.measure),
        "trace": greedy_trace(report.trace, report.score or report.measure),
        "settings": figures.hyperparameters(report.ingredients, report.measure),
    }
    ingredients = report.ingredients
    if len(ingredients) > tables.UNFOLDED_ROWS:
        ingredients = ingredients.sort_values("heldout_accuracy", ascending=False, kind="stable")
    judged = report.trace[report.trace["at_most"].notna()]  # without the first, the best single
    seen, possible = (float(judged[name].sum()) for name in ("examples_seen", "heldout_n"))
    return _template().render(
        report=report,
        verdict=verdict(report.results, report.tests, report.recipe, report.measure),
        caveats=[
            *report.warnings,
            *caveats(
                report.results,
                report.ingredients,
                report.trace,
                report.recipe,
                report.score or report.measure,
            ),
        ],
        # Safe as markup, because `svg` escapes the names in a figure.
        figures={name: Markup(figures.svg(figure)) for name, figure in drawn.items()},
        splits=tables.splits(report.results),
        compared=tables.accuracies(report.results, tables.compared(report.results)),
        singles=tables.accuracies(report.results, ["ingredient"]),
        comparisons=tables.comparisons(report.tests),
        scored=_by_score(report),
        studies=[
            {
                "name": study.name,
                "question": study.question,
                "sentence": study.sentence,
                "figure": Markup(study.figure),
                "columns": [*study.table.columns],
                "rows": study.table.head(STUDY_ROWS).values.tolist(),
                "more": max(0, len(study.table) - STUDY_ROWS),
            }
            for study in report.studies
        ],
        failures=bool((report.ingredients["status"] == "failed").any()),
        settings=tables.varied(report.ingredients),
        constant=tables.constant(report.ingredients),
        ingredients=tables.folded(ingredients.to_dict("records")),
        trace=tables.folded(report.trace.to_dict("records")),
        saved=1 - seen / possible if possible else 0.0,
        longest=max(report.stage_seconds.values(), default=0.0),
    )


def _by_score(report: Report) -> dict[str, Any]:
    """The tables of the score that the soup was chosen by; none if that is accuracy."""
    score = report.score
    if not score:
        return {}
    results, tests = report.results, report.tests
    bounds = {"low": results[f"{score}_low"], "high": results[f"{score}_high"]}
    names = {"difference": "difference", "low": "low", "high": "high", "p_value": "p"}
    columns = {name: tests[f"{score}_{figure}"] for name, figure in names.items()}
    return {
        "compared": tables.accuracies(
            results.assign(accuracy=results[score], **bounds), tables.compared(results)
        ),
        "comparisons": tables.comparisons(tests.assign(**columns)),
    }


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("soup.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        name: getattr(formatting, name)
        for name in (
            "split",
            "unit",
            "title",
            "percent",
            "points",
            "probability",
            "count",
            "duration",
            "setting",
        )
    }
    return environment.get_template("page.html.j2")
