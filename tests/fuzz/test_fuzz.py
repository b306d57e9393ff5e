"""Whatever others wrote, it is read or refused: no other error, nothing written.

`python -m benchmarks.fuzz` runs many more cases.
"""

from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soup.errors import BadInput
from tests.fuzz.target import Fault, Target, refused
from tests.fuzz.targets import TARGETS

CASES = 150


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged pictures
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_damaged_input_is_refused_by_an_error_that_names_it(
    tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "input"
    folder.mkdir()
    target.ground(folder)
    accepted: list[bool] = []

    @settings(
        max_examples=CASES,
        derandomize=True,
        database=None,
        suppress_health_check=[*HealthCheck],
    )
    @given(st.randoms(use_true_random=True))
    def holds(rng: Random) -> None:
        accepted.append(not refused(target, folder, target.make(rng)))

    holds()
    assert any(accepted)  # else all that is fuzzed is the first check


@pytest.mark.parametrize(
    ("read", "fault"),
    [
        (lambda path: {}["key"], "KeyError"),
        (lambda path: (path.parent / "left").write_text("") or _refuse(str(path)), "wrote"),
        (lambda path: _refuse("somewhere"), "does not name the file"),
        (lambda path: _refuse(f"{path}: a\nb"), "2 lines"),
    ],
)
def test_what_is_no_refusal_is_a_fault(tmp_path: Path, read: object, fault: str) -> None:
    target = Target("planted", lambda rng: b"", "file", read)  # type: ignore[arg-type]
    with pytest.raises(Fault, match=fault):
        refused(target, tmp_path, b"")


def _refuse(message: str) -> None:
    raise BadInput(message)
