"""The command's verbs: what is listed, what is completed, and what is loaded for that."""

import inspect
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import version

import pytest

from soup.cli import app, cook_options
from soup.evaluation.scores import COUNTS, SCORES
from soup.recipes import RECIPES
from tests.checkouts import REPO
from tests.cli.conftest import Command

HEAVY = ("torch", "pandas", "numpy", "mlflow", "timm", "pydantic", "scipy", "torchvision")
RUN = f"""
import atexit, sys
atexit.register(lambda: print("LOADED", *{{*{HEAVY}}} & {{*sys.modules}}, file=sys.stderr))
from soup.cli import main
sys.argv[0] = sys.argv.pop(1)
main()
"""


def run(*arguments: str, name: str = "soup", **environment: str) -> tuple[str, set[str]]:
    """What a command prints, and which of the heavy packages it loads."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, name, *arguments],
        cwd=REPO,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    last = done.stderr.splitlines()[-1].split()
    assert last[0] == "LOADED"
    return done.stdout, set(last[1:])


def completed(line: str) -> tuple[list[str], set[str]]:
    """What a shell is given for a line whose last word is to be completed."""
    words = line.split(" ")
    shown, loaded = run(
        _SOUP_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1)
    )
    return shown.split(), loaded


VERBS = [*app.VERBS, *(f"champion {verb}" for verb in ("show", "promote", "rollback", "copy"))]


def in_zsh_or_fish(shell: str, line: str) -> str:
    """What zsh or fish is given for such a line, by either name of the command."""
    name = line.partition(" ")[0]
    given = {f"_{name.upper()}_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": line}
    shown, loaded = run(name=name, **given, _TYPER_COMPLETE_FISH_ACTION="get-args")
    assert loaded == set()
    return shown


# How zsh and fish are told of a completion and its meaning.
SPOKEN = {"zsh": re.compile(r'"([\w-]+)":"(.*)"'), "fish": re.compile(r"([\w-]+)\t(.*)")}


@pytest.mark.parametrize("shell", SPOKEN)
@pytest.mark.parametrize("name", ["soup", "modelsoup"])
def test_zsh_and_fish_complete_verbs_and_values_too(shell: str, name: str) -> None:
    verbs = in_zsh_or_fish(shell, f"{name} ").splitlines()
    told = dict(found.groups() for line in verbs if (found := SPOKEN[shell].search(line)))
    plain = {v: text.replace("\\\\", "").replace("''", "'") for v, text in told.items()}
    assert plain == app.VERBS
    options = in_zsh_or_fish(shell, f"{name} cook --").splitlines()
    assert all(SPOKEN[shell].search(line) for line in options)  # no help in several lines
    recipes = in_zsh_or_fish(shell, f"{name} cook a b --recipe t")
    assert re.findall(r"\w+", recipes.replace("_arguments", "")) == ["task", "ties"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_that_sets_completion_up_asks_this_command(shell: str) -> None:
    shown, _ = run(_SOUP_COMPLETE=f"source_{shell}")
    assert f"complete_{shell}" in shown
    assert "_SOUP_COMPLETE" in shown


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_loads_nothing_heavy(verb: str) -> None:
    shown, loaded = run(*verb.split(), "--help")
    assert "Usage: soup" in shown
    assert loaded == set()


@pytest.mark.parametrize("line", ["soup ", *(f"soup {verb} --" for verb in VERBS)])
def test_completion_loads_nothing_heavy(line: str) -> None:
    words, loaded = completed(line)
    assert words
    assert loaded == set()


def test_the_two_tests_above_can_fail() -> None:
    _, loaded = run("recipes", "--json")
    assert "torch" in loaded


def test_verbs_and_values_are_completed() -> None:
    assert completed("soup ")[0] == list(app.VERBS)
    assert completed("soup co")[0] == ["cook", "compare"]
    assert completed("soup champion r")[0] == ["rollback"]
    assert completed("soup cook --rec")[0] == ["--recipe", "--recalibrate"]
    assert completed("soup cook a b --recipe ") == (list(RECIPES), set())
    assert completed("soup cook --set x=1 -r t")[0] == ["task", "ties"]
    assert completed("soup cook --metric ")[0] == [*COUNTS, *SCORES]


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


HIDE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from soup.cli import main
main()
"""


@pytest.mark.parametrize(
    ("hidden", "arguments", "extra"),
    [
        ("torchvision", "predict x y", "vision"),
        ("torchvision", "compare x --on y", "vision"),
        ("mlflow", "champion show", "pipeline"),
    ],
)
def test_what_is_not_installed_is_named_with_the_extra_that_has_it(
    hidden: str, arguments: str, extra: str
) -> None:
    script = HIDE.format(hidden=hidden)
    command = [sys.executable, "-c", script, *arguments.split()]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: this needs {hidden}, which is not installed: pip install 'modelsoup[{extra}]'\n"
    )


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
