"""The page of `soup try` in a browser: what it shows, and that it asks nobody outside."""

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from soup.serving import Classifier
from tests import checkouts, text_worlds
from tests.cli.conftest import Command, soup  # noqa: F401  # the command, in this process
from tests.waiting import until
from tests.worlds import COLOURS, picture, put, tiny

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.ui, pytest.mark.slow]
pytest.importorskip("gradio", reason="gradio is not installed: pip install '.[try]'")
Open = Callable[..., "Page"]
# The program refuses every connection that leaves this machine, and says so where we look.
GUARD = """
import sys

def watch(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        if arguments[1][0] not in ("127.0.0.1", "::1", "localhost"):
            print("LEFT THIS MACHINE:", arguments[1], file=sys.stderr, flush=True)
    if event == "socket.getaddrinfo" and arguments[0] not in ("127.0.0.1", "localhost"):
        print("LEFT THIS MACHINE:", arguments[0], file=sys.stderr, flush=True)

sys.addaudithook(watch)
from soup.cli import main
main()
"""


@contextmanager
def trying(folder: Path, log: Path, *options: str) -> Iterator[str]:
    """The address of a page that `soup try` shows; ended by Ctrl-C, as users end it."""
    command = [sys.executable, "-c", GUARD, "try", str(folder), "--no-browser", *options]
    with log.open("wb") as file:
        environment = checkouts.environment(log.parent, PYTHONPATH=str(checkouts.REPO))
        process = subprocess.Popen(
            command, cwd=log.parent, env=environment, stdout=file, stderr=file
        )
    try:

        def told() -> str | None:
            assert process.poll() is None, log.read_text()
            found = re.search(r"(http://\S+)\s+shows", log.read_text())
            return found and found[1]

        yield until(told, "the address")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130, log.read_text()  # as every command that Ctrl-C ends
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert "LEFT THIS MACHINE" not in log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A soup of two models, and these; MODELSOUP_TRIED names others for the docs' picture."""
    if given := os.environ.get("MODELSOUP_TRIED"):
        return Path(given)
    root = tmp_path_factory.mktemp("tried") / "shapes"
    for seed in range(2):
        put(root / f"run{seed}", tiny(seed=seed))
    cooked(root)
    return root


def cooked(root: Path) -> None:
    out = root / "soup" / "model.safetensors"
    command = [sys.executable, "-m", "soup.cli", "cook", "-o", out, root / "run0", root / "run1"]
    subprocess.run([*map(str, command)], cwd=checkouts.REPO, check=True, capture_output=True)


@pytest.fixture(scope="module")
def address(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with trying(models, tmp_path_factory.mktemp("log") / "log") as address:
        yield address


@pytest.fixture
def red(tmp_path: Path) -> Path:
    if given := os.environ.get("MODELSOUP_PICTURE"):
        return Path(given)
    picture(COLOURS["red"], 1, (160, 120)).save(tmp_path / "red.png")
    return tmp_path / "red.png"


def told_by(page: "Page") -> dict[str, str]:
    """What each column answers, once all of them have."""
    page.wait_for_function("document.querySelectorAll('.output-class').length >= 3")
    labels = page.locator(".output-class").all_inner_texts()
    titles = page.locator("h3").all_inner_texts()
    return dict(zip(titles, (label.strip() for label in labels), strict=True))


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "light"), (1200, "dark")])
def test_a_picture_is_answered_by_each_model_and_nobody_outside_is_asked(
    address: str,
    models: Path,
    red: Path,
    opened: Open,
    asked: list[str],
    shoot: Callable[..., None],
    width: int,
    scheme: str,
) -> None:
    page = opened(address, width=width, height=560, color_scheme=scheme)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.get_by_text("Drop a picture, or paste one.").wait_for()
    assert page.title() == f"{models.name}: soup try"
    page.set_input_files("input[type=file]", red)
    told = told_by(page)
    assert len(told) == 3
    single, soup_title, ensemble = told
    assert (single in ("single", "best single"), soup_title, ensemble) == (True, "soup", "ensemble")
    [expected] = Classifier(models / "soup").predict([red.read_bytes()]).to_dict("records")
    assert told["soup"] == expected["label"]
    share = f"{round(100 * expected['probability'])}%"
    assert share in page.locator("body").inner_text()
    assert page.get_by_text(re.compile(r"^\d+\.\d ms$")).count() == 3
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (errors, asked) == ([], [])
    # Fonts are those of the system: none was fetched, and none is named that would be.
    assert "googleapis" not in page.content()
    page.wait_for_timeout(1000)  # the bars grow
    if (width, scheme) == (1200, "light"):
        shoot(page, "try")


def test_a_file_that_is_cut_short_is_refused_on_the_page_with_the_reason(
    address: str, red: Path, tmp_path: Path, opened: Open
) -> None:
    (tmp_path / "cut.png").write_bytes(red.read_bytes()[:400])
    page = opened(address)
    page.set_input_files("input[type=file]", tmp_path / "cut.png")
    page.get_by_text("this picture cannot be used: ").first.wait_for()


def test_other_names_of_this_machine_are_refused_as_those_of_other_sites_would_be(
    address: str,
) -> None:
    request = urllib.request.Request(address, headers={"Host": "other.example"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    assert refused.value.code == 400


def test_it_listens_on_this_machine_alone_at_a_free_port_and_a_used_one_is_refused(
    address: str,
    models: Path,
    tmp_path: Path,
    soup: Command,  # noqa: F811
) -> None:
    host, _, port = address.removeprefix("http://").partition(":")
    assert host == "127.0.0.1"
    said = soup("try", models, "--no-browser", "--port", port)
    assert (said.code, f"port {port}: another program uses it" in said.err) == (2, True)
    with trying(models, tmp_path / "log") as other:  # without --port
        assert other != address


def test_a_sentence_is_answered(tmp_path: Path, opened: Open, asked: list[str]) -> None:
    for seed in range(2):
        made = text_worlds.soup(tmp_path / f"made{seed}")
        made.rename(tmp_path / "texts" / f"run{seed}") if seed else None
        if not seed:
            (tmp_path / "texts").mkdir()
            made.rename(tmp_path / "texts" / "run0")
    cooked(tmp_path / "texts")
    with trying(tmp_path / "texts", tmp_path / "log", "--port", "0") as address:
        page = opened(address)
        page.get_by_label("A sentence").fill("the cat loves a dog")
        page.get_by_role("button", name="Ask the models").click()
        told = told_by(page)
        assert {*told.values()} <= {"no", "yes"}
        assert "All answer" in page.locator("body").inner_text()
    assert asked == []


def test_texts_and_pictures_in_one_folder_are_refused(
    models: Path,
    tmp_path: Path,
    soup: Command,  # noqa: F811
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("run0", "run1", "soup"):
        (folder / name).symlink_to(models / name)
    text_worlds.soup(tmp_path / "text").rename(folder / "texts")
    said = soup("try", folder, "--no-browser", "--single", "texts")
    assert said.code == 2
    assert "models that are compared have the same input" in said.err
