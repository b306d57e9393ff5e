"""Archives by offset: the bytes are the members', and what cannot be trusted is refused by name."""

import gzip
import io
import multiprocessing
import os
import re
import tarfile
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soup import limits
from soup.data.errors import DataError
from soup.data.reading import archives
from soup.data.reading.archives import extent, names
from tests.data.shifts.layouts import packed, tar


def bytes_of(archive: Path) -> dict[str, bytes]:
    whole = archive.read_bytes()
    return {n: whole[(p := extent(archive, n))[0] : sum(p)] for n in names(archive)}


def refusal(archive: Path) -> str:
    with pytest.raises(DataError) as caught:
        names(archive)
    return str(caught.value)


def index_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "xdg").rglob("*.npy"))


def test_members_of_a_tar_of_tars_are_found_where_they_are(tmp_path: Path) -> None:
    inner = {"b.tar": packed([("2", b"two"), ("1", b"")]), "a.tar": packed([("./x/3", b"3" * 999)])}
    archive = tar(tmp_path / "t.tar", [*inner.items(), ("c/4", b"four")])
    assert names(archive) == ["a/x/3", "b/1", "b/2", "c/4"]
    assert bytes_of(archive) == {"a/x/3": b"3" * 999, "b/1": b"", "b/2": b"two", "c/4": b"four"}


@settings(max_examples=40)
@given(
    st.dictionaries(
        st.text("ab/é", min_size=1, max_size=120).map(
            lambda s: "/".join(p for p in s.split("/") if p) or "z"
        ),
        st.binary(max_size=1500),
        max_size=8,
    ),
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_any_plain_tar_gives_its_members(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes], kind: int
) -> None:
    archive = tmp_path_factory.mktemp("any") / "t.tar"
    with tarfile.open(archive, "w", format=kind) as made:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            try:
                made.addfile(info, io.BytesIO(data))
            except ValueError:  # too long a name for this form of tar
                return
    assert bytes_of(archive) == members


def test_a_name_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    archive = tar(tmp_path / "t.tar", [("b", b"1"), ("d", b"2")])
    for name in ("a", "c", "e", "bb", ""):
        with pytest.raises(FileNotFoundError, match=r"No such file in the archive .*t\.tar"):
            extent(archive, name)


def test_the_index_is_made_once_and_again_when_the_archive_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    plain = archives._index
    monkeypatch.setattr(archives, "_index", lambda a, s: (made.append(a), plain(a, s))[1])
    archive = tar(tmp_path / "t.tar", [("a", b"1")])
    assert names(archive) == names(archive) == ["a"]
    archives._loaded.cache_clear()  # as another process has it
    assert extent(archive, "a") == (512, 1)
    assert len(made) == 1
    tar(archive, [("b", b"2" * 20_000)])
    assert names(archive) == ["b"]
    os.utime(archive, ns=(0, 0))
    assert names(archive) == ["b"]
    assert len(made) == 3
    assert len(index_files(tmp_path)) == 3


@pytest.mark.parametrize("broken", [b"", b"\x93NUMPY", b"nonsense"])
def test_a_broken_index_is_made_again(tmp_path: Path, broken: bytes) -> None:
    archive = tar(tmp_path / "t.tar", [("a", b"1")])
    names(archive)
    (file,) = index_files(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(broken or whole[:-1])
    archives._loaded.cache_clear()
    assert names(archive) == ["a"]
    assert file.read_bytes() == whole


def test_without_a_place_for_the_index_each_process_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    archive = tar(tmp_path / "t.tar", [("a", b"1")])
    assert extent(archive, "a") == (512, 1)


def ask(archive: Path, ready: Barrier, answers: SimpleQueue) -> None:
    ready.wait()
    answers.put([extent(archive, name) for name in names(archive)])


def test_four_processes_that_ask_at_once_get_the_same(tmp_path: Path) -> None:
    archive = tar(tmp_path / "t.tar", [(f"{i:04d}", bytes([i % 256]) * i) for i in range(300)])
    fork = multiprocessing.get_context("fork")
    ready, answers = fork.Barrier(4), fork.SimpleQueue()
    asking = [fork.Process(target=ask, args=(archive, ready, answers)) for _ in range(4)]
    for each in asking:
        each.start()
    given = [answers.get() for _ in asking]
    for each in asking:
        each.join()
    assert given == [[extent(archive, name) for name in names(archive)]] * 4
    assert len(given[0]) == 300
    (file,) = (tmp_path / "xdg" / "modelsoup" / "archives").iterdir()  # and nothing half-written
    assert file.suffix == ".npy"


def odd(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_members_that_must_not_be_trusted_are_refused_all_by_name(tmp_path: Path) -> None:
    archive = tmp_path / "t.tar"
    with tarfile.open(archive, "w") as made:
        for info in (
            odd("good/a.png"),
            odd("../up.png"),
            odd("a/../../up.png"),
            odd("/etc/root.png"),
            odd("soft.png", tarfile.SYMTYPE, "/etc/passwd"),
            odd("hard.png", tarfile.LNKTYPE, "good/a.png"),
            odd("pipe", tarfile.FIFOTYPE),
            odd("good/a.png"),
        ):
            made.addfile(info)
    first, *lines = refusal(archive).splitlines()
    assert first == f"{archive} is refused for what it holds; make it again of plain files alone:"
    assert lines == [
        "  ../up.png: a path that climbs out",
        "  a/../../up.png: a path that climbs out",
        "  /etc/root.png: an absolute path",
        "  soft.png: a link, to /etc/passwd",
        "  hard.png: a link, to good/a.png",
        "  pipe: no plain file",
        "  good/a.png: more than once",
    ]


def test_an_inner_archive_is_no_way_around(tmp_path: Path) -> None:
    archive = tar(tmp_path / "t.tar", [("n1.tar", packed([("../../x.png", b"")]))])
    assert "n1/../../x.png: a path that climbs out" in refusal(archive)


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "t.tar"
    archive.write_bytes(packed([("aXb.png", b"1")]).replace(b"aXb.png", b"a\xffb.png"))
    fixed = bytearray(archive.read_bytes())  # the header's checksum
    fixed[148:156] = b" " * 8
    fixed[148:156] = b"%06o\0 " % sum(fixed[:512])
    archive.write_bytes(fixed)
    assert "its name is not UTF-8" in refusal(archive)


def test_an_empty_file_a_packed_one_and_one_that_is_none_are_told_apart(tmp_path: Path) -> None:
    archive = tmp_path / "t.tar"
    archive.write_bytes(b"")
    assert refusal(archive) == f"{archive} is empty; fetch it again"
    archive.write_bytes(gzip.compress(packed([("a", b"1")])))
    assert "is packed by gzip" in refusal(archive)
    assert "unpack it" in refusal(archive)
    archive.write_bytes(b"<html>404</html>" * 100)
    assert "is no tar that can be read" in refusal(archive)
    nested = tar(archive, [("n1.tar", b"junk" * 300)])
    assert f"{nested}::n1.tar is no tar that can be read" in refusal(nested)


@pytest.mark.parametrize("share", [0.2, 0.45, 0.7, 0.85])
def test_an_archive_cut_short_is_not_taken_for_a_small_one(tmp_path: Path, share: float) -> None:
    whole = packed([(f"{i}.png", bytes([i]) * 5000) for i in range(6)]).rstrip(b"\0")
    archive = tmp_path / "t.tar"
    archive.write_bytes(whole[: int(len(whole) * share)])
    assert "is no tar that can be read" in refusal(archive)


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path) -> None:
    whole = bytearray(packed([("a", b"1"), ("b", b"2"), ("c", b"3")]))
    whole[1024 + 3] ^= 0xFF
    archive = tmp_path / "t.tar"
    archive.write_bytes(whole)
    assert "a damaged header at byte 1024" in refusal(archive)


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("TAR_MEMBERS", 2, "more than 2 members; at most 2 is read .limit TAR_MEMBERS"),
        ("TAR_TABLE_BYTES", 9, "and a name of 155 bytes.*limit TAR_TABLE_BYTES"),
        ("TAR_NAME", 150, "a name of 155 bytes, above 150 .TAR_NAME in soup/limits.py"),
        ("TAR_HEADER_BYTES", 600, "a header of 1,024 bytes; at most 600 .*limit TAR_HEADER_BYTES"),
    ],
)
def test_members_names_and_headers_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, reason: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    long = "a/" + "x" * 149 + ".png"
    with tarfile.open(tmp_path / "t.tar", "w", format=tarfile.PAX_FORMAT) as made:
        for name in ("a/1.png", "a/2.png", long):
            member = tarfile.TarInfo(name)
            member.size = 3
            member.pax_headers = {"comment": "c" * 400} if name == long else {}
            made.addfile(member, io.BytesIO(b"abc"))
    monkeypatch.setattr(limits, limit, value)
    assert re.search(f"t.tar .*{reason}", refusal(tmp_path / "t.tar"), re.DOTALL)
    assert not (tmp_path / "cache").exists()
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert names(tmp_path / "t.tar") == ["a/1.png", "a/2.png", long]
