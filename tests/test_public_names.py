"""`import soup`: its names, and that each is loaded when it is used."""

import subprocess
import sys

import pytest

import soup
from tests.checkouts import REPO
from tests.forked import Forks


def run(with_torch: Forks, code: str, *arguments: str) -> str:
    ended = with_torch.python(code, *arguments)
    assert ended.code == 0, ended.err
    return ended.out.strip()


def test_import_soup_loads_no_package_but_its_own() -> None:
    code = (
        "import sys; before = {*sys.modules}; import soup; "
        "new = {name.partition('.')[0] for name in {*sys.modules} - before}; "
        "print(sorted(new - sys.stdlib_module_names))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "['soup']\n"), done.stderr


NAMES = """
import os, sys
import safetensors.torch, scipy.stats  # once, before it is forked; soup is not
for name in sys.argv:
    if not os.fork():
        import soup
        value = getattr(soup, name)
        exec(f"from soup import {name} as again")
        print(name, value is again, flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, name
"""


def test_every_name_is_there_after_import_soup_alone(with_torch: Forks) -> None:
    lines = run(with_torch, NAMES, *soup.__all__).splitlines()
    assert lines == [f"{name} True" for name in soup.__all__]


def test_names_are_the_things_themselves() -> None:
    from soup.evaluation import judges
    from soup.recipes import greedy
    from soup.weights import Weights, average

    assert soup.average is average
    assert soup.greedy is greedy
    assert callable(soup.greedy)  # not the module of that name
    assert soup.Weights is Weights
    assert soup.judging is judges
    assert soup.ErrorJudge is judges.ErrorJudge
    assert set(soup.__all__) <= set(dir(soup))


def test_import_everything(with_torch: Forks) -> None:
    code = "from soup import *; print(greedy.__name__, uniform.__name__)"
    assert run(with_torch, code) == "greedy uniform"


def test_a_name_that_is_none_is_told_as_python_tells_it() -> None:
    with pytest.raises(AttributeError, match="module 'soup' has no attribute 'stew'"):
        _ = soup.stew  # type: ignore[attr-defined]
