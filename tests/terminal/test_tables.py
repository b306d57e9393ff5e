"""The table of results at any width: whole names, whole figures, every column once."""

import io

import pytest
from rich.console import Console

from soup.terminal.tables import Row, fitting

SPLITS = ["held-out", "test", "mean of shifts", "v2", "sketch", "r", "objectnet", "a", "real"]
MODELS = ["zero-shot", "probe", "median ingredient", "best single", "greedy ensemble"]


@pytest.mark.parametrize(
    "splits", [SPLITS, SPLITS[:8], SPLITS[:2], [f"shift-{k}" for k in range(40)]]
)
@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_name_and_no_figure_is_cut_or_broken(splits: list[str], width: int) -> None:
    rows = [
        Row(model, [f"{10 + index + at / 100:.2f}" for at in range(len(splits))])
        for index, model in enumerate(MODELS)
    ]
    file = io.StringIO()
    console = Console(file=file, width=width)
    for table in fitting("shapes: accuracy, %", splits, rows, width):
        console.print(table)
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].strip() == "shapes: accuracy, %"
    for row in rows:
        of_model = [line.removeprefix(row.name) for line in lines if line.startswith(row.name)]
        assert " ".join(of_model).split() == list(row.cells)
    words = [word for split in splits for word in split.split()]
    assert sorted(w for line in lines[1:] for w in line.split() if w in words) == sorted(words)
    if len(splits) < 9 and width >= 80:
        assert sum(line.startswith("probe") for line in lines) == 1


def test_a_heading_is_broken_once_where_that_is_enough() -> None:
    """The demo's table at 80 columns."""
    rows = [Row("median ingredient", ["75.17"] * 8)]
    file = io.StringIO()
    for table in fitting("shapes", SPLITS[:8], rows, 80):
        Console(file=file, width=80).print(table)
    title, first, second, figures = (line.split() for line in file.getvalue().splitlines())
    assert (title, first) == (["shapes"], ["mean", "of"])
    assert second == ["held-out", "test", "shifts", *SPLITS[3:8]]
    assert len(figures) == 2 + 8
