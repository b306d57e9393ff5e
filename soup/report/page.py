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

from soup.report import costs, figures, formatting, tables
from soup.report.caveats import caveats
from soup.report.greedy_trace import greedy_trace
from soup.report.headline import Verdict, verdict


@dataclass(frozen=True)
class Report:
    """The data on the page. Accuracies are fractions; unknown values are NaN or absent."""

    title: str
    recipe: str
    """The kind of the chosen soup in `results`: its recipe, with options in brackets."""
    results: pd.DataFrame
    """A row for each model and split: model, kind, split, n, accuracy, low, high, nll, ece."""
    ingredients: pd.DataFrame
    """name, run_id, url, status, reason, kept, heldout_accuracy (or the score, if there is one);
    the rest are hyperparameters."""
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
    examples: Sequence[Mapping[str, Any]] = ()
    """Test examples that exactly one of the two answers rightly: kind ("mended", "broken"), text
    and pair or image (a data URI), label, soup, single, soup_probability, single_probability."""
    unit: str = "images"
    """What the examples are: "images" or "texts"."""
    score: str = ""
    """The score that the soup was chosen by, with columns in results and tests; "": `measure`."""
    measure: str = "accuracy"
    """What the columns called accuracy hold: "accuracy", or the score of predicted numbers. In the
    second case soup_only and single_only count the examples on which this model is closer."""
    confidence: formatting.Number = 0.95
    """Of the intervals in results and tests, a fraction."""
    costs: Mapping[str, Mapping[str, formatting.Number]] = field(default_factory=dict)
    """Kind of soup -> passes (of all held-out examples), seconds and bytes that making it took."""
    members: int = 0
    """Models in the ensemble; 0 if that is not known."""
    traces: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Kind of another soup -> the trace of its search, as `trace`, where it has one."""
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
    shown, unit = report.score or report.measure, report.unit
    results, tests = _by_score(report)  # with the score in the place of the accuracy
    drawn = {
        "plane": figures.accuracy_plane(results, report.recipe, shown),
        "trace": greedy_trace(report.trace, shown, unit, report.recipe),
        "settings": figures.hyperparameters(report.ingredients, shown),
    }
    searches = {
        recipe: greedy_trace(trace, shown, unit, recipe) for recipe, trace in report.traces.items()
    }
    ingredients = report.ingredients
    if len(ingredients) > tables.UNFOLDED_ROWS:
        ingredients = ingredients.sort_values("heldout_accuracy", ascending=False, kind="stable")
    judged = report.trace[report.trace["at_most"].notna()]  # without the first, the best single
    seen, possible = (float(judged[name].sum()) for name in ("examples_seen", "heldout_n"))
    return _template().render(
        report=report,
        chosen_by=shown,
        interval=formatting.interval_name(report.confidence),
        verdict=verdict_of(report),
        costs_of_soup=[
            costs.to_use(report.members),
            costs.to_make(results, report.recipe, report.costs, report.stage_seconds, unit),
        ],
        caveats=[
            *report.warnings,
            *caveats(results, report.ingredients, report.trace, report.recipe, shown, unit),
        ],
        # Safe as markup, because `svg` escapes the names in a figure.
        figures={name: Markup(figures.svg(figure)) for name, figure in drawn.items()},
        splits=tables.splits(report.results),
        compared=tables.accuracies(report.results, tables.compared(report.results)),
        singles=tables.accuracies(report.results, ["ingredient"]),
        comparisons=tables.comparisons(report.tests),
        scored=_tables(results, tests) if report.score else {},
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
        searches=[
            {
                "recipe": recipe,
                "figure": Markup(figures.svg(figure)),
                "count": len(report.traces[recipe]),
                "rows": report.traces[recipe].head(tables.UNFOLDED_ROWS).to_dict("records"),
            }
            for recipe, figure in searches.items()
        ],
        saved=1 - seen / possible if possible else 0.0,
        longest=max(report.stage_seconds.values(), default=0.0),
    )


def verdict_of(report: Report) -> Verdict:
    """The verdict of a report, as the page and the model card say it."""
    results, tests = _by_score(report)
    measure = report.score or report.measure
    return verdict(results, tests, report.recipe, measure, report.unit, report.confidence)


def _by_score(report: Report) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results and tests in which the score, if there is one, takes the place of the accuracy."""
    score, results, tests = report.score, report.results, report.tests
    if not score:
        return results, tests
    bounds = {"low": results[f"{score}_low"], "high": results[f"{score}_high"]}
    names = {"difference": "difference", "low": "low", "high": "high", "p_value": "p"}
    columns = {name: tests[f"{score}_{figure}"] for name, figure in names.items()}
    return results.assign(accuracy=results[score], **bounds), tests.assign(**columns)


def _tables(results: pd.DataFrame, tests: pd.DataFrame) -> dict[str, Any]:
    """The tables of the score that the soup was chosen by."""
    return {
        "compared": tables.accuracies(results, tables.compared(results)),
        "comparisons": tables.comparisons(tests),
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
