"""A digest is kept with the state of its file, and used as long as that is the state."""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from soup import known_digests, limits
from soup.known_digests import Changed, FileDigest, sha256

LONG_AGO = 10 * known_digests.SETTLED


@pytest.fixture(autouse=True)
def _settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own, and a clock by which files that are made now are old."""
    monkeypatch.setattr(known_digests, "time", lambda: time.time() + LONG_AGO)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "home" / "modelsoup" / "digests"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return made(tmp_path / "weights", b"a")


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what is hashed of files, from now on."""
    sizes: list[int] = []
    real = hashlib.sha256

    class Counted:
        def __init__(self) -> None:
            self._hash = real()
            self.hexdigest = self._hash.hexdigest

        def update(self, data: memoryview) -> None:
            sizes.append(len(data))
            self._hash.update(data)

    def counted(data: bytes | None = None) -> object:
        return Counted() if data is None else real(data)

    monkeypatch.setattr(known_digests.hashlib, "sha256", counted)
    return sizes


def made(path: Path, letter: bytes, size: int = 3 << 20) -> Path:
    path.write_bytes(letter * size)
    return path


def truth(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_digest_is_computed_once(file: Path, cache: Path, hashed: list[int]) -> None:
    assert sha256(file) == truth(file)
    assert sum(hashed) == 3 << 20
    hashed.clear()
    assert sha256(file) == truth(file)
    assert FileDigest(file).known
    assert hashed == []
    assert cache.stat().st_mode & 0o777 == 0o600


def overwrite(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(b"b")


def overwrite_and_set_the_old_time(file: Path) -> None:
    before = file.stat()
    overwrite(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def put_another_in_its_place(file: Path) -> None:
    before = file.stat()
    other = made(file.with_name("other"), b"c")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)


def append(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"d")


@pytest.mark.parametrize(
    "change", [overwrite, overwrite_and_set_the_old_time, put_another_in_its_place, append]
)
def test_a_changed_file_is_hashed_anew(file: Path, change: Callable[[Path], None]) -> None:
    before = sha256(file)
    time.sleep(0.02)  # more than a tick of the file system's clock
    change(file)
    assert sha256(file) == truth(file) != before


def test_the_digest_of_a_file_that_was_changed_just_now_is_not_kept(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = max(file.stat().st_mtime, file.stat().st_ctime)
    monkeypatch.setattr(known_digests, "time", lambda: changed + known_digests.SETTLED - 1)
    assert sha256(file) == truth(file)
    assert not cache.exists()
    monkeypatch.setattr(known_digests, "time", lambda: changed + known_digests.SETTLED + 1)
    sha256(file)
    assert cache.exists()


def test_a_file_of_the_future_is_not_kept(file: Path, cache: Path) -> None:
    os.utime(file, (time.time() + 3 * LONG_AGO,) * 2)
    assert sha256(file) == truth(file)
    assert not cache.exists()


def test_a_small_file_is_not_kept(tmp_path: Path, cache: Path) -> None:
    small = made(tmp_path / "small", b"s", 100)
    assert sha256(small) == truth(small)
    assert not cache.exists()


@pytest.mark.parametrize("when", ["between steps", "at the end"])
def test_a_file_that_changes_while_it_is_read_is_an_error(
    file: Path, cache: Path, when: str
) -> None:
    digest = FileDigest(file)
    digest.advance(file.stat().st_size if when == "at the end" else 1 << 20)
    append(file)
    with pytest.raises(Changed, match=r"weights was changed while it was read"):
        digest.finish()
    assert not cache.exists()


def test_a_new_name_is_no_change_of_content(file: Path, cache: Path) -> None:
    digest = FileDigest(file)
    digest.advance(1 << 20)
    time.sleep(0.02)
    file.with_name("link").hardlink_to(file)
    assert digest.finish() == truth(file)
    assert not cache.exists()  # the time of its inode is not what it was


def test_steps_by_several_threads_hash_each_byte_once(tmp_path: Path, hashed: list[int]) -> None:
    file = made(tmp_path / "large", b"l", (5 << 20) + 17)
    digest = FileDigest(file)
    ends = [1 << 20, 5, 3 << 20, (5 << 20) + 17, 2 << 20]
    threads = [threading.Thread(target=digest.advance, args=[end]) for end in ends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(hashed) == (5 << 20) + 17
    assert digest.finish() == truth(file)


def flip_the_digest(cache: Path) -> None:
    text = bytearray(cache.read_bytes())
    at = text.index(b" ") + 5
    text[at] = ord("1") if text[at] != ord("1") else ord("2")
    cache.write_bytes(text)


def cut(cache: Path) -> None:
    cache.write_bytes(cache.read_bytes()[:-10])


def let_the_group_write(cache: Path) -> None:
    cache.chmod(0o660)


def make_it_a_link(cache: Path) -> None:
    cache.rename(cache.with_name("real"))
    cache.symlink_to(cache.with_name("real"))


def make_it_a_folder(cache: Path) -> None:
    cache.unlink()
    cache.mkdir()


@pytest.mark.parametrize(
    "damage", [flip_the_digest, cut, let_the_group_write, make_it_a_link, make_it_a_folder]
)
def test_a_cache_that_cannot_be_trusted_is_not_used(
    file: Path, cache: Path, hashed: list[int], damage: Callable[[Path], None]
) -> None:
    sha256(file)
    damage(cache)
    hashed.clear()
    assert sha256(file) == truth(file)
    assert sum(hashed) == 3 << 20


def test_a_line_that_was_cut_does_not_harm_the_next(
    file: Path, tmp_path: Path, cache: Path, hashed: list[int]
) -> None:
    sha256(file)
    cut(cache)
    other = made(tmp_path / "other", b"o")
    assert sha256(other) == truth(other)
    hashed.clear()
    assert sha256(other) == truth(other)
    assert hashed == []


def test_where_nothing_can_be_kept_the_digest_is_computed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))  # no folder
    assert sha256(file) == truth(file)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert sha256(file) == truth(file)


def test_a_full_cache_keeps_its_newer_half(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DIGEST_CACHE_BYTES", 1200)
    monkeypatch.setattr(known_digests, "SMALLEST", 1)
    files = [made(tmp_path / str(n), b"%d" % n, 10) for n in range(10)]
    for each in files:
        sha256(each)
        assert cache.stat().st_size <= 1200
    assert FileDigest(files[-1]).known
    assert not FileDigest(files[0]).known
    assert all(sha256(each) == truth(each) for each in files)


def test_lines_that_are_kept_at_the_same_time_do_not_mix(tmp_path: Path, hashed: list[int]) -> None:
    files = [made(tmp_path / str(n), b"%d" % n, 1 << 20) for n in range(20)]
    threads = [
        threading.Thread(target=lambda part: [sha256(f) for f in part], args=[files[start::4]])
        for start in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hashed.clear()
    assert [sha256(each) for each in files] == [truth(each) for each in files]
    assert hashed == []
