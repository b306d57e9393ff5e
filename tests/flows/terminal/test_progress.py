"""What is shown of work under way: pace, lines, bars, and nothing."""

import io
import re
from pathlib import Path

import pytest

from flows.monitoring import sweep_progress
from flows.monitoring.prometheus import FOLDER
from flows.monitoring.sweep_progress import SweepProgress
from flows.terminal.logs import MaskingConsole
from soup.terminal.progress import BYTES, Display, Mode, Pace, duration, speed
from tests.flows.clock import Clock


def shown(
    clock: Clock, mode: Mode | None = None, terminal: bool = False
) -> tuple[Display, io.StringIO]:
    text = io.StringIO()
    console = MaskingConsole(file=text, force_terminal=terminal, width=100, color_system=None)
    return Display(console, mode, clock), text


def test_a_pace_is_that_of_the_last_while(clock: Clock) -> None:
    pace = Pace(clock)
    for second in range(101):
        clock.now = float(second)
        pace.to(10 * second if second <= 60 else 600 + 100 * (second - 60))
    assert pace.rate == pytest.approx(100, rel=0.01)
    assert pace.text(9600, "images") == "4,600 of 9,600 images, 100 a second, 50 s left"
    assert pace.text(None, "images") == "4,600 images, 100 a second"


def test_what_was_done_before_is_no_pace(clock: Clock) -> None:
    pace = Pace(clock)
    pace.to(0)
    pace.skip(5000)
    clock.now = 10.0
    pace.to(5040)
    assert pace.rate == pytest.approx(4)
    assert pace.text(6000, "images") == "5,040 of 6,000 images, 4.0 a second, 4 min left"


@pytest.mark.parametrize(
    ("seconds", "text"), [(42, "42 s"), (430, "7 min"), (12_000, "3 h 20 min"), (99.4, "99 s")]
)
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("room", "text"),
    [
        (70, "1,200 of 5,000 images, 40 a second, 95 s left, 3 of 12 fine-tunes"),
        (60, "1,200 of 5,000 images, 95 s left, 3 of 12 fine-tunes"),
        (40, "1,200 of 5,000 images, 95 s left"),
        (20, "95 s left"),
    ],
)
def test_where_room_is_short_the_time_that_is_left_stays(
    clock: Clock, room: int, text: str
) -> None:
    pace = Pace(clock)
    pace.to(0)
    clock.now = 30.0
    pace.to(1200)
    assert pace.text(5000, "images", "3 of 12 fine-tunes", room) == text


@pytest.mark.parametrize(
    ("done", "seconds", "text"),
    [
        (2, 90, "2 of 12 models, 45 s each, 8 min left"),
        (2, 900, "2 of 12 models, 8 min each, 75 min left"),
        (9, 10, "9 of 12 models, 1 s each, 3 s left"),
        (9, 9, "9 of 12 models, 1.0 a second, 3 s left"),
    ],
)
def test_a_slow_pace_is_told_as_time_for_one(
    clock: Clock, done: int, seconds: float, text: str
) -> None:
    pace = Pace(clock)
    pace.to(0)
    clock.now = float(seconds)
    pace.to(done)
    assert pace.text(12, "models") == text


@pytest.mark.parametrize("name", ["sweep", "a-checkpoint-of-a-long-name-that-was-imported"])
def test_a_terminal_of_80_columns_has_room_for_a_bar_and_the_time_left(
    clock: Clock, name: str
) -> None:
    text = io.StringIO()
    console = MaskingConsole(file=text, force_terminal=True, width=80, color_system=None)
    display = Display(console, clock=clock)
    task = display.begin(name, 96_000)
    clock.now = 20.0
    task.to(24_000, "3 of 12 fine-tunes")
    display.bars.refresh()
    line = text.getvalue().splitlines()[-1]
    task.end()
    bar = "━━╸".ljust(10)  # a quarter
    assert f"{bar} 24,000 of 96,000 images, 60 s left" in line
    assert name[:19] in line


def test_without_a_terminal_a_task_has_a_line_a_minute(clock: Clock) -> None:
    display, text = shown(clock)
    with display.track("checking images", 500) as advance:
        for _ in range(500):
            clock.now += 0.25
            advance(1)
    assert text.getvalue().splitlines() == [
        "  checking images: 240 of 500 images, 4.0 a second, 65 s left",
        "  checking images: 480 of 500 images, 4.0 a second, 5 s left",
    ]


def test_parts_of_work_have_no_lines_of_their_own(clock: Clock) -> None:
    display, text = shown(clock)
    whole = display.begin("sweep", 1000)
    parts = [display.begin(f"ft-{number}", 500, part=True) for number in range(2)]
    for minute in range(1, 4):
        clock.now = 61.0 * minute
        for part in parts:
            part.to(100 * minute)
        whole.to(200 * minute)
    lines = text.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines] == ["  sweep"] * 3


@pytest.mark.parametrize("rate", [1e-9, 0.001, 0.04, 0.06, 0.5, 0.999, 1.0, 3.0, 12.3, 1e6])
@pytest.mark.parametrize("unit", ["images", BYTES])
def test_no_rate_and_no_time_left_is_shown_as_zero(clock: Clock, rate: float, unit: str) -> None:
    pace = Pace(clock)
    pace.to(0)
    clock.now = 1000.0 / rate
    pace.to(1000)
    told = pace.text(1001, unit)
    assert told.count(",") >= 2  # the pace and what is left are there
    assert not re.search(r"(?<![\d.,])0(\.0+)? ", told), told
    assert not re.search(r"(?<![\d.,])0(\.0+)? ", speed(rate, unit)), speed(rate, unit)


def test_bytes_are_told_in_megabytes_and_gigabytes(clock: Clock) -> None:
    pace = Pace(clock)
    pace.to(0)
    clock.now = 2.0
    pace.to(1_200_000_000)
    assert pace.text(3_400_000_000, BYTES) == "1.2 GB of 3.4 GB, 600 MB a second, 4 s left"


def test_in_a_terminal_bars_come_and_go(clock: Clock) -> None:
    display, text = shown(clock, terminal=True)
    with display.track("sweep", 100) as advance:
        clock.now = 2.0
        advance(50)
        display.bars.refresh()
        assert display.bars.live.is_started
    assert not display.bars.live.is_started
    assert "50 of 100 images, 25 a second, 2 s left" in text.getvalue()
    advance(1)  # heard too late


def test_quietly_there_is_nothing(clock: Clock) -> None:
    display, text = shown(clock, "quiet", terminal=True)
    with display.track("sweep", 2) as advance:
        clock.now = 100.0
        advance(1)
    display.say("a note")
    assert text.getvalue() == ""


def test_a_sweep_tells_its_throughput_without_what_was_done_before(clock: Clock) -> None:
    display, text = shown(clock)
    with SweepProgress({"ft-000": 100, "ft-001": 100}, 32, display) as watcher:
        watcher.finished_before({"ft-001"})
        clock.now = 1.0
        watcher.step("ft-000", 50, {})  # it goes on from a state that was kept
        clock.now = 21.0
        watcher.step("ft-000", 60, {"heldout/accuracy": 0.5})
        clock.now = 62.0
        watcher.step("ft-000", 80, {})
        watcher.done("ft-000", "[odd] 50.00% held-out")
        watcher.say("out of [memory]")
    assert watcher.state.counts["finished"] == 2
    assert watcher.state.steps_done == 200
    lines = text.getvalue().splitlines()
    assert lines[0] == "  1 of 2 fine-tunes finished before"
    assert lines[1].startswith(
        "  sweep: 5,760 of 6,400 images, 16 a second, 41 s left, 1 of 2 fine"
    )
    assert not [line for line in lines if "ft-000: " in line]  # its line is the sweep's
    assert lines[-2:] == ["  ft-000 2/2 [odd] 50.00% held-out", "  out of [memory]"]


def test_prefect_is_told_of_a_bar_that_moved_every_five_seconds_and_at_the_end(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    monkeypatch.setattr(sweep_progress, "in_prefect", lambda: True)
    monkeypatch.setattr(sweep_progress, "create_progress_artifact", lambda *_, **__: "bar")
    monkeypatch.setattr(sweep_progress, "create_table_artifact", lambda *_, **__: None)
    monkeypatch.setattr(
        sweep_progress, "update_progress_artifact", lambda _, share: told.append(share)
    )
    display, _ = shown(clock)
    with SweepProgress({"ft-000": 100}, 32, display) as watcher:
        for step in range(1, 100):
            clock.now += 1.0
            watcher.step("ft-000", step, {})
    assert told == [2, *range(7, 100, 5), 99]


def test_figures_that_cannot_be_written_cost_no_fine_tune_and_are_told_of_once(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(FOLDER, str(tmp_path / "file"))
    display, text = shown(clock)
    with SweepProgress({"ft-000": 100}, 32, display, "shapes") as watcher:
        for step in (20, 60, 100):
            clock.now += 100.0
            watcher.step("ft-000", step, {})
        watcher.done("ft-000", "50.00% held-out")
    assert text.getvalue().count("progress is not shown everywhere: FileExistsError") == 1
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with SweepProgress({"ft-000": 100}, 32, display, "shapes") as watcher:
        watcher.step("ft-000", 20, {})
    assert (
        'modelsoup_sweep_running{experiment="shapes"} 0.0'
        in next(tmp_path.glob("*.prom")).read_text()
    )
