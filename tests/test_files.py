"""A file appears whole or not at all."""

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from soup.files import _code, atomic_write, of_code, write_json, write_text


def test_a_file_takes_its_place_only_when_all_is_written(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "result.txt"
    with atomic_write(target) as aside:
        aside.write_text("half")
        assert not target.exists()
        assert (aside.parent, aside.suffix) == (target.parent, ".txt")
        aside.write_text("whole")
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "result.txt"
    target.write_text("old")

    def interrupted() -> None:
        with atomic_write(target) as aside:
            aside.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_result_is_as_readable_as_any_other_file(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "result.txt", "text")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert (tmp_path / "result.txt").stat().st_mode & 0o777 == mode


def test_files_that_other_threads_create_meanwhile_keep_their_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread creates a file at every moment at which the writer calls the system."""
    created: list[Path] = []

    def create() -> None:
        created.append(tmp_path / f"other-{len(created)}")
        created[-1].touch()

    def followed_by_a_file(call: Callable[[int], Any]) -> Callable[[int], Any]:
        def wrapped(argument: int) -> Any:
            answer = call(argument)
            with ThreadPoolExecutor(1) as pool:
                pool.submit(create).result()
            return answer

        return wrapped

    before = os.umask(0o022)
    try:
        for name in ("umask", "fsync"):
            monkeypatch.setattr(os, name, followed_by_a_file(getattr(os, name)))
        write_text(tmp_path / "result.txt", "text")
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert created
    assert {path.stat().st_mode & 0o777 for path in created} == {0o644}


def test_text_is_the_same_bytes_everywhere(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "θ\nline\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xce\xb8\nline\n"


def test_json_does_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    write_json(tmp_path / "b.json", {"a": [2], "b": 1})
    written = (tmp_path / "a.json").read_text()
    assert written == '{\n  "a": [\n    2\n  ],\n  "b": 1\n}\n'
    assert written == (tmp_path / "b.json").read_text()


def test_json_has_no_nan_and_a_refused_value_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert (tmp_path / "a.json").read_text() == "1\n"


def test_what_a_killed_writer_left_is_swept_up_and_what_another_writes_is_not(
    tmp_path: Path,
) -> None:
    target = tmp_path / "model.safetensors"
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from soup.files import atomic_write
with atomic_write({str(target)!r}) as aside:
    aside.write_text("half")
    os._exit(9)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    (left,) = tmp_path.iterdir()
    with atomic_write(target) as other:  # of a process that runs: this one
        assert not left.exists()
        write_text(target, "whole")
        assert other.exists()
        other.write_text("the last one stays")
    assert list(tmp_path.iterdir()) == [target]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the path, to put modules in; each of its tests has one of another name."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / f"planted_{tmp_path.name}"
    folder.mkdir()
    return folder


def test_the_digest_of_code_ignores_prose_and_tells_code_apart(package: Path) -> None:
    (package / "__init__.py").write_text('"""A package."""\n')

    def digest(text: str, name: str = package.name) -> str:
        (package / "part.py").write_text(text)
        of_code.cache_clear()
        _code.cache_clear()
        return of_code(name)

    plain = digest('def double(x):\n    """Twice."""\n    return 2 * x\n')
    reworded = '"""A module."""\n# Why.\ndef double(x):\n    """Two times x."""\n\n    return 2*x\n'
    assert digest(reworded) == plain
    assert digest("def double(x):\n    return 3 * x\n") != plain
    assert digest('def double(x):\n    """Only prose."""\n') != plain
    assert digest(reworded, f"{package.name}.part") != plain
    with pytest.raises(ModuleNotFoundError, match=f"no source of {package.name}"):
        of_code(f"{package.name}.none")


def test_a_file_of_code_is_read_once_whatever_digests_it_is_part_of(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("__init__.py", "one.py", "other.py"):
        (package / name).write_text("double = 2\n")
    written, real = [], ast.unparse

    def noted(tree: ast.AST) -> str:
        written.append(tree)
        return real(tree)

    monkeypatch.setattr(ast, "unparse", noted)
    of_code(package.name)
    of_code(f"{package.name}.one", f"{package.name}.other")
    assert len(written) == 3
