"""Commands tell how far they are: in images and bytes, and in lines without a terminal."""

import itertools
import re

import pytest

from soup.cli import terminal
from soup.terminal.progress import Display
from tests.cli.conftest import Candidates, Command


def show_with_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """So many seconds go by each time that the clock is looked at."""
    ticks = itertools.count(0, seconds)
    display = Display(terminal.console, "lines", lambda: float(next(ticks)))
    monkeypatch.setattr(terminal, "display", lambda: display)


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    show_with_clock(monkeypatch, 60)


def lines_of(what: str, said: str, unit: str = "images") -> list[tuple[int, int]]:
    """The counts in the lines of a piece of work: done, in all."""
    found = re.findall(rf"{re.escape(what)}: ([\d,]+) of ([\d,]+) {unit}", said)
    return [(int(done.replace(",", "")), int(total.replace(",", ""))) for done, total in found]


@pytest.mark.usefixtures("minutes")
def test_cook_counts_images_to_the_end_though_its_judge_stops_early(
    soup: Command, candidates: Candidates
) -> None:
    heldout = ("--heldout", candidates.heldout, "--out", candidates.folder / "progress.safetensors")
    said = soup("cook", "-r", "greedy", "--splits", 2, *heldout, *candidates.models)
    assert said.code == 0, said.err
    models, images = len(candidates.models), 90
    scored = lines_of("scoring", said.err)
    assert scored[-1] == (models * images, models * images)
    cooked = lines_of("greedy soup", said.err)
    assert cooked[-1] == ((models - 1) * images, (models - 1) * images)
    assert len(cooked) >= models - 1
    split = lines_of("splitting", said.err)
    assert split[-1][0] <= split[-1][1] == 2 * models * images
    assert "models, " not in "".join(re.findall(r"\w+: [\d,]+ of .*? left", said.err))
    assert re.search(r"reading: [\d.]+ MB of [\d.]+ MB", said.err)
    assert re.search(r"each, \d+ (s|min|h \d+ min) left", said.err)
    assert not re.search(r" 0(\.0)? a second| 0 s ", said.err)


@pytest.mark.usefixtures("minutes")
def test_compare_and_inspect_count_images(soup: Command, candidates: Candidates) -> None:
    pair = candidates.models[:2]
    said = soup("compare", "--on", candidates.heldout, *pair)
    for model in ("run0", "run1"):
        assert lines_of(model, said.err)[-1] == (90, 90)
    said = soup("inspect", "--heldout", candidates.heldout, *pair)
    assert lines_of("walking between models", said.err)[-1] == (11 * 90, 11 * 90)


def test_a_command_of_less_than_a_minute_has_no_line(
    soup: Command, candidates: Candidates, monkeypatch: pytest.MonkeyPatch
) -> None:
    show_with_clock(monkeypatch, 0.001)
    said = soup("compare", "--on", candidates.heldout, *candidates.models[:2])
    assert " left" not in said.err
    assert "a second" not in said.err
    assert lines_of("run0", said.err) == lines_of("run1", said.err) == []
