"""The cores that a process may use."""

import os
from pathlib import Path

import pytest

from soup.cores import cores


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "max 100000"}, 64),
        ({"cpu.max": "250000 100000"}, 2),
        ({"cpu.max": "20000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ({"jobs/one/cpu.max": "400000 100000"}, 4),
        ({"jobs/one/cpu.max": "max 100000", "jobs/cpu.max": "500000 100000"}, 5),
        ({"jobs/other/cpu.max": "400000 100000"}, 64),
        ({"jobs/one/cpu.max": "nothing"}, 64),
        ({}, 64),
    ],
)
def test_cores_are_those_that_were_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(f"{text}\n")
    (tmp_path / "membership").write_text("1:name=systemd:/else\n0::/jobs/one\n")
    monkeypatch.setattr("soup.cores.CGROUP", tmp_path / "groups")
    monkeypatch.setattr("soup.cores.MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    assert cores() == expected
