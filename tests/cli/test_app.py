"""The command's verbs: what is listed, what is completed, and what is loaded for that."""

import inspect
import re
import signal
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from soup.cli import app, cook_options
from soup.evaluation.scores import COUNTS, SCORES
from soup.recipes import RECIPES
from tests.checkouts import REPO
from tests.cli.conftest import Candidates, Command
from tests.forked import Forks, forks

HEAVY = {"torch", "pandas", "numpy", "mlflow", "timm", "pydantic", "scipy", "torchvision"}


@pytest.fixture(scope="module")
def light() -> Iterator[Forks]:
    """Commands that begin with what all of them import."""
    with forks("soup.cli.app") as made:
        yield made


def run(light: Forks, *words: str, name: str = "soup", **environment: str) -> tuple[str, set[str]]:
    """What a command prints, and which of the heavy packages it loads."""
    ended = light.soup(*words, name=name, **environment)
    assert "Traceback" not in ended.err, ended.err
    return ended.out, HEAVY & ended.loaded


def completed(light: Forks, line: str) -> tuple[list[str], set[str]]:
    """What a shell is given for a line whose last word is to be completed."""
    place = str(line.count(" "))
    shown, loaded = run(light, _SOUP_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=place)
    return shown.split(), loaded


VERBS = [*app.VERBS, *(f"champion {verb}" for verb in ("show", "promote", "rollback", "copy"))]


def in_zsh_or_fish(light: Forks, shell: str, line: str) -> str:
    """What zsh or fish is given for such a line, by either name of the command."""
    name = line.partition(" ")[0]
    given = {f"_{name.upper()}_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": line}
    shown, loaded = run(light, name=name, **given, _TYPER_COMPLETE_FISH_ACTION="get-args")
    assert loaded == set()
    return shown


# How zsh and fish are told of a completion and its meaning.
SPOKEN = {"zsh": re.compile(r'"([\w-]+)":"(.*)"'), "fish": re.compile(r"([\w-]+)\t(.*)")}


@pytest.mark.parametrize("shell", SPOKEN)
@pytest.mark.parametrize("name", ["soup", "modelsoup"])
def test_zsh_and_fish_complete_verbs_and_values_too(light: Forks, shell: str, name: str) -> None:
    verbs = in_zsh_or_fish(light, shell, f"{name} ").splitlines()
    told = dict(found.groups() for line in verbs if (found := SPOKEN[shell].search(line)))
    plain = {v: text.replace("\\\\", "").replace("''", "'") for v, text in told.items()}
    assert plain == app.VERBS
    options = in_zsh_or_fish(light, shell, f"{name} cook --").splitlines()
    assert all(SPOKEN[shell].search(line) for line in options)  # no help in several lines
    recipes = in_zsh_or_fish(light, shell, f"{name} cook a b --recipe t")
    assert re.findall(r"\w+", recipes.replace("_arguments", "")) == ["task", "ties"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_that_sets_completion_up_asks_this_command(light: Forks, shell: str) -> None:
    shown, _ = run(light, _SOUP_COMPLETE=f"source_{shell}")
    assert f"complete_{shell}" in shown
    assert "_SOUP_COMPLETE" in shown


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_loads_nothing_heavy(light: Forks, verb: str) -> None:
    shown, loaded = run(light, *verb.split(), "--help")
    assert "Usage: soup" in shown
    assert loaded == set()


@pytest.mark.parametrize("line", ["soup ", *(f"soup {verb} --" for verb in VERBS)])
def test_completion_loads_nothing_heavy(light: Forks, line: str) -> None:
    words, loaded = completed(light, line)
    assert words
    assert loaded == set()


def test_the_two_tests_above_can_fail(light: Forks) -> None:
    assert HEAVY & light.python("import pandas").loaded == {"numpy", "pandas"}


def test_verbs_and_values_are_completed(light: Forks) -> None:
    assert completed(light, "soup ")[0] == list(app.VERBS)
    assert completed(light, "soup co")[0] == ["cook", "compare"]
    assert completed(light, "soup champion r")[0] == ["rollback"]
    assert completed(light, "soup cook --rec")[0] == ["--recipe", "--recalibrate"]
    assert completed(light, "soup cook a b --recipe ") == (list(RECIPES), set())
    assert completed(light, "soup cook --set x=1 -r t")[0] == ["task", "ties"]
    assert completed(light, "soup cook --metric ")[0] == [*COUNTS, *SCORES]


def test_names_that_are_written_down_for_completion_are_those_there_are() -> None:
    assert cook_options.recipe_names() == list(RECIPES)
    assert list(cook_options.METRICS) == [*COUNTS, *SCORES]


@pytest.mark.parametrize("verb", app.VERBS)
def test_the_list_of_verbs_says_of_each_what_its_own_help_says(verb: str) -> None:
    assert inspect.cleandoc(app.load(verb).help).splitlines()[0] == app.VERBS[verb]


def test_an_unknown_verb_is_answered_with_one_that_is_near(soup: Command) -> None:
    said = soup("cok")
    assert said.code == 2
    assert "Did you mean 'cook'?" in said.err


def test_the_version_is_that_of_the_package(soup: Command) -> None:
    said = soup("--version")
    assert said.code == 0
    number = re.escape(version("modelsoup"))
    found = re.fullmatch(rf"soup {number}( \((\w+)(\+changes)?\))?\n", said.out)
    assert found
    if (REPO / ".git").exists():
        command = ["git", "rev-parse", "HEAD"]
        head = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
        assert head.stdout.startswith(found[2])


@pytest.mark.parametrize(
    ("hidden", "arguments", "extra"),
    [
        ("torchvision", "predict x y", "vision"),
        ("torchvision", "compare x --on y", "vision"),
        ("mlflow", "champion show", "pipeline"),
    ],
)
def test_what_is_not_installed_is_named_with_the_extra_that_has_it(
    with_torch: Forks, hidden: str, arguments: str, extra: str
) -> None:
    ended = with_torch.soup(*arguments.split(), hidden=[hidden])
    assert ended.code == 2
    assert ended.err == (
        f"error: this needs {hidden}, which is not installed: "
        f"pip install '.[{extra}]' in the checkout of modelsoup\n"
    )


def test_the_command_needs_no_mlflow_prefect_or_timm_to_average(
    with_torch: Forks, candidates: Candidates, tmp_path: Path
) -> None:
    words = ["cook", "-r", "uniform", "-o", tmp_path / "soup.safetensors", *candidates.models[:2]]
    ended = with_torch.soup(*words)
    assert ended.code == 0, ended.err
    assert not ended.loaded & {"mlflow", "prefect", "timm", "open_clip", "dvc", "matplotlib"}


def test_an_error_is_printed_as_it_is_though_rich_would_read_it_as_markup(soup: Command) -> None:
    said = soup("inspect", "runs[bold]/a.safetensors", "[red]")
    assert said.code == 2
    assert "runs[bold]/a.safetensors" in said.err
    assert "[red]" in said.err


def test_a_bug_is_no_bad_input_and_keeps_its_traceback(
    soup: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ValueError("a bug of ours")

    monkeypatch.setattr("soup.cli.recipes.recipes", broken)
    with pytest.raises(ValueError, match="a bug of ours"):
        soup("recipes")


@pytest.mark.parametrize("becomes", [KeyboardInterrupt, RecursionError, ImportError])
def test_ctrl_c_while_a_package_is_imported_prints_no_traceback(
    soup: Command, monkeypatch: pytest.MonkeyPatch, becomes: type[BaseException]
) -> None:
    def interrupted() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise becomes from None

    monkeypatch.setattr("soup.cli._run", interrupted)
    monkeypatch.setattr("soup.cli._interrupted", [])
    assert soup("recipes") == (130, "", "")
