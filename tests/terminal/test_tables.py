"""The table of results at any width: whole names, whole figures, every column once."""

import io
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from soup.terminal.tables import Column, Row, fitting, in_words

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


FILES = [
    Column("model", False, ["seed-3-lr-3e-5-epoch-16.safetensors", "run0"]),
    Column("tensors", True, ["123", "123"]),
    Column("parameters", True, ["86,567,656", "86,567,656"]),
    Column("SHA-256", False, ["0123456789ab", "ba9876543210"]),
    Column("says of itself", False, ["recipe greedy, lr 0.003, layout timm", ""]),
]


def printed(columns: list[Column], width: int) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width, markup=False, emoji=False, highlight=False)
    for table in in_words(columns, width):
        console.print(table)
    return file.getvalue().splitlines()


words = st.text(string.ascii_letters + string.digits + "-._", min_size=1, max_size=16)
texts = st.lists(words, max_size=6).map(" ".join)


@given(st.data(), st.integers(40, 130))
def test_lines_fit_and_are_broken_between_words_alone(data: st.DataObject, width: int) -> None:
    rows = data.draw(st.integers(0, 3))
    cells = st.lists(texts, min_size=rows, max_size=rows)
    # Numbers stay on their line, and so have to fit one.
    figures = st.lists(words, min_size=rows, max_size=rows)
    column = st.booleans().flatmap(
        lambda numbers: st.builds(Column, texts, st.just(numbers), figures if numbers else cells)
    )
    columns = data.draw(st.lists(column, min_size=1, max_size=8))
    lines = printed(columns, width)
    assert max(map(len, lines), default=0) <= width
    given = {word for c in columns for text in (c.heading, *c.cells) for word in text.split()}
    shown = {word for line in lines for word in line.split()}
    assert shown <= given
    assert {word for c in columns for text in c.cells for word in text.split()} <= shown


def test_a_table_that_fits_has_one_line_a_row_and_is_no_wider_than_it_needs() -> None:
    lines = printed(FILES, 200)
    assert len(lines) == 3
    assert max(map(len, lines)) < 120


def test_columns_that_do_not_fit_come_in_a_further_table_with_the_names() -> None:
    lines = [line.split() for line in printed(FILES, 70)]
    names = [line[0] for line in lines if line[0] in ("model", *FILES[0].cells)]
    assert names == ["model", FILES[0].cells[0], "run0"] * 2
    assert lines[1][1:] == ["123", "86,567,656"]


def test_on_a_very_narrow_terminal_each_cell_has_its_line() -> None:
    lines = printed(FILES, 50)
    assert lines[0].split() == ["model", FILES[0].cells[0]]
    assert lines[1].split() == ["tensors", "123"]
    assert max(map(len, lines)) <= 50
