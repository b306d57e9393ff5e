"""Which files a process that runs slow tests imports."""

import gc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.checkouts import REPO
from tests.conftest import (
    ENDS,
    LONGEST,
    PLAIN,
    _next,
    pytest_collection_modifyitems,
    pytest_ignore_collect,
    pytest_itemcollected,
    pytest_runtest_teardown,
)


def config(marks: str) -> Any:
    return SimpleNamespace(option=SimpleNamespace(markexpr=marks))


def item(path: Path, slow: bool) -> Any:
    return SimpleNamespace(path=path, get_closest_marker=lambda name: slow and name == "slow")


def test_slow_tests_are_collected_without_the_files_that_have_none(tmp_path: Path) -> None:
    fast, slow, other = (tmp_path / name for name in ("test_a.py", "test_b.py", "worlds.py"))
    fast.write_text("def test_a(): ...\n")
    slow.write_text("import pytest\n\n@pytest.mark.slow\ndef test_b(): ...\n")
    other.write_text("")
    assert pytest_ignore_collect(fast, config("slow")) is True
    assert pytest_ignore_collect(slow, config("slow")) is None
    assert pytest_ignore_collect(other, config("slow")) is None
    assert pytest_ignore_collect(tmp_path, config("slow")) is None
    assert pytest_ignore_collect(fast, config("not slow")) is None
    assert pytest_ignore_collect(fast, config("")) is None


def test_a_slow_test_that_would_not_be_found_is_an_error(tmp_path: Path) -> None:
    path, other = tmp_path / "test_a.py", tmp_path / "test_b.py"
    path.write_text("pytestmark = MARKS\n")
    other.write_text("pytestmark = pytest.mark.slow\n")
    pytest_itemcollected(item(path, slow=False))
    with pytest.raises(pytest.UsageError, match=r"test_a\.py has slow tests: it must say 'mark"):
        pytest_itemcollected(item(path, slow=True))
    pytest_itemcollected(item(other, slow=True))


def test_a_process_that_has_run_slow_tests_runs_no_others_afterwards(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / name).write_text("@pytest.mark.slow" if name in "bd" else "")

    def order(of_slow: bool) -> list[str]:
        left = list("abcd")
        dealt = iter(lambda: _next(left, of_slow, tmp_path), None)
        return [group for group in dealt if not left.remove(group)]

    assert order(of_slow=True) == ["b", "d"]
    assert order(of_slow=False) == ["a", "c", "b", "d"]


def test_files_that_take_minutes_begin_first_and_their_tests_keep_their_order() -> None:
    assert all((REPO / file).is_file() for file in LONGEST)
    others = ["tests/a/test_a.py::test_b", "tests/a/test_a.py::test_a"]
    longest = [f"{file}::test_{name}" for file in LONGEST for name in "ba"]
    items: Any = [SimpleNamespace(nodeid=name) for name in (*others, *longest[2:], *longest[:2])]
    pytest_collection_modifyitems(items)
    assert [each.nodeid for each in items] == [*longest, *others]


def test_nobody_looks_for_garbage_in_what_tests_import() -> None:
    assert gc.get_freeze_count() > 10_000
    assert gc.isenabled()


def test_what_a_group_shares_ends_after_its_last_test_and_not_before() -> None:
    ended = []
    session = SimpleNamespace(stash=pytest.Stash())
    session.stash[ENDS] = [lambda: ended.append("server")]
    first, second = (
        SimpleNamespace(nodeid=f"{file}::test_a[x::y]", session=session) for file in PLAIN[:2]
    )
    other: Any = SimpleNamespace(nodeid="tests/a/test_a.py::test_a", session=session)
    pytest_runtest_teardown(first, second)
    assert not ended
    pytest_runtest_teardown(second, other)
    pytest_runtest_teardown(other, None)
    assert ended == ["server"]
