"""Arrays on disk: made once, by one of those who ask, within a limit, never while they are read."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soup.data.loading.array_cache import kept
from tests.waiting import PATIENCE

GIB = 2**30
CONTEXT = multiprocessing.get_context("fork")


def blocks_of(array: np.ndarray, made: list[int] | None = None) -> Callable[[], Iterator[Any]]:
    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(array), 4):
            if made is not None:
                made.append(start)
            yield array[start : start + 4]

    return blocks


def numbers(seed: int, count: int = 10, width: int = 100) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, width), dtype=np.uint8)


def keep(folder: Path, seed: int, arrays: float = 1e6) -> np.ndarray | None:
    """A thousand bytes, where there is room for so many times as much (and for numpy's headers)."""
    found = kept(folder / f"{seed}.npy", 10, blocks_of(numbers(seed)), arrays * 1128 / GIB, "x")
    if found is not None:
        np.testing.assert_array_equal(found, numbers(seed))
    return found


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
def test_an_array_is_made_once_and_mapped(tmp_path: Path, dtype: type) -> None:
    made: list[int] = []
    array = numbers(0).astype(dtype)
    for _ in range(2):
        found = kept(tmp_path / "a.npy", 10, blocks_of(array, made), 1)
        assert isinstance(found, np.memmap)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, array)
    assert made == [0, 4, 8]
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)
    assert names(tmp_path) == {"a.npy"}


def test_what_is_written_into_a_map_stays_private(tmp_path: Path) -> None:
    found = keep(tmp_path, 0)
    assert found is not None
    found[:] = 0
    keep(tmp_path, 0)


@pytest.mark.parametrize("damage", [0, 5, 60, 127, 130, 1127, "longer", "other", "text"])
def test_a_damaged_file_is_made_again_and_it_is_said(
    tmp_path: Path, damage: int | str, caplog: pytest.LogCaptureFixture
) -> None:
    keep(tmp_path, 0)
    file = tmp_path / "0.npy"
    if damage == "other":
        np.save(file, numbers(1)[:7])
    elif damage == "longer":
        file.write_bytes(file.read_bytes() + b"x")
    elif damage == "text":
        file.write_bytes(b"nothing of the kind" * 100)
    else:
        file.write_bytes(file.read_bytes()[:damage])
    keep(tmp_path, 0)
    assert "0.npy is damaged and is made again" in caplog.text
    assert np.load(file).shape == (10, 100)


def test_those_not_asked_for_longest_make_room(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        keep(tmp_path, seed)
        os.utime(tmp_path / f"{seed}.npy", (seed, seed))
    keep(tmp_path, 0)  # asked for again
    assert keep(tmp_path, 3, arrays=3) is not None
    assert names(tmp_path) == {"0.npy", "2.npy", "3.npy"}
    assert keep(tmp_path, 4, arrays=1) is not None
    assert names(tmp_path) == {"4.npy"}


def test_none_in_use_is_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = keep(tmp_path, 0), keep(tmp_path, 1)
    keep(tmp_path, 2)
    assert first is not None
    part = first[3:]  # a view keeps it
    del first, second
    assert keep(tmp_path, 3, arrays=2) is not None
    assert names(tmp_path) == {"0.npy", "3.npy"}
    third = keep(tmp_path, 3, arrays=2)
    assert third is not None
    assert keep(tmp_path, 4, arrays=2) is None
    assert "raise compute.cache_gib" in caplog.text
    assert names(tmp_path) == {"0.npy", "3.npy"}
    del part
    assert keep(tmp_path, 4, arrays=2) is not None


def test_what_can_never_have_room_removes_nothing(tmp_path: Path) -> None:
    keep(tmp_path, 0)
    assert keep(tmp_path, 1, arrays=0.5) is None
    assert names(tmp_path) == {"0.npy"}


def test_an_error_while_it_is_made_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield numbers(0)[:4]
        raise ValueError("an image is not what it was")

    with pytest.raises(ValueError, match="not what it was"):
        kept(tmp_path / "0.npy", 10, broken, 1)
    assert names(tmp_path) == set()
    assert keep(tmp_path, 0) is not None


def test_what_a_killed_process_left_half_made_is_removed_first(tmp_path: Path) -> None:
    def dies() -> Iterator[np.ndarray]:
        yield numbers(7)[:4]
        os._exit(9)

    def work() -> None:
        kept(tmp_path / "7.npy", 10, dies, 1)

    process = CONTEXT.Process(target=work)
    process.start()
    process.join()
    assert [name for name in names(tmp_path) if name.endswith(".npy")] != []
    keep(tmp_path, 0)
    assert {name for name in names(tmp_path) if name.endswith(".npy")} == {"0.npy"}
    assert keep(tmp_path, 7) is not None
    assert names(tmp_path) == {"0.npy", "7.npy"}


def test_of_four_processes_that_ask_at_once_one_makes_and_all_read(tmp_path: Path) -> None:
    start, queue, asking = CONTEXT.Barrier(4), CONTEXT.Queue(), CONTEXT.Semaphore(0)

    def slow() -> Iterator[np.ndarray]:
        with (tmp_path / "log").open("a") as log:
            log.write("made\n")
        yield numbers(0)[:4]
        for _ in processes:
            asking.acquire()
        yield numbers(0)[4:]

    def work() -> None:
        start.wait()
        asking.release()
        found = kept(tmp_path / "cache" / "0.npy", 10, slow, 1)
        queue.put(found is not None and bool((found == numbers(0)).all()))

    processes = [CONTEXT.Process(target=work) for _ in range(4)]
    for process in processes:
        process.start()
    assert [queue.get(timeout=PATIENCE) for _ in processes] == [True] * 4
    for process in processes:
        process.join()
    assert (tmp_path / "log").read_text() == "made\n"
    assert names(tmp_path / "cache") == {"0.npy"}


def test_what_another_process_is_making_counts_once(tmp_path: Path) -> None:
    ours, theirs = CONTEXT.Pipe()

    def slow() -> Iterator[np.ndarray]:
        yield numbers(7)[:4]
        theirs.send("begun")
        theirs.recv()
        yield numbers(7)[4:]

    process = CONTEXT.Process(target=lambda: kept(tmp_path / "7.npy", 10, slow, 1))
    process.start()
    assert ours.recv() == "begun"
    assert keep(tmp_path, 0, arrays=1.7) is None
    assert keep(tmp_path, 0, arrays=2.1) is not None
    ours.send("go on")
    process.join()
    assert names(tmp_path) == {"0.npy", "7.npy"}
    np.testing.assert_array_equal(np.load(tmp_path / "7.npy"), numbers(7))


def test_an_array_in_use_by_another_process_is_not_removed(tmp_path: Path) -> None:
    ours, theirs = CONTEXT.Pipe()

    def work() -> None:
        found = keep(tmp_path, 0)
        theirs.send("mapped")
        theirs.recv()
        del found

    process = CONTEXT.Process(target=work)
    process.start()
    assert ours.recv() == "mapped"
    assert keep(tmp_path, 1, arrays=1) is None
    ours.send("go on")
    process.join()
    assert keep(tmp_path, 1, arrays=1) is not None
