"""Answers in a file: half the bytes or less, and the same classes on top."""

from pathlib import Path

import numpy as np
import pytest

from soup.evaluation.metrics import score
from soup.evaluation.prediction_file import (
    Unreadable,
    overflowed,
    read,
    to_float16_keeping_argmax,
    write,
)


def close(seed: int = 0) -> np.ndarray:
    """Logits whose first two differ by less than float16 can tell."""
    logits = np.random.default_rng(seed).normal(size=(500, 7)).astype(np.float32)
    logits[:, 2] = logits.max(axis=1) + 0.5
    logits[:, 5] = logits[:, 2] * (1 + 2e-5) * np.sign(logits[:, 2])
    return logits


def test_rounding_keeps_the_likeliest_class() -> None:
    logits = close()
    plain = logits.astype(np.float16)
    assert (plain.argmax(axis=1) != logits.argmax(axis=1)).mean() > 0.5
    half = to_float16_keeping_argmax(logits)
    np.testing.assert_array_equal(half.argmax(axis=1), logits.argmax(axis=1))
    np.testing.assert_allclose(half.astype(float), logits, rtol=2e-3)
    assert (half != plain).sum() == (plain.argmax(axis=1) != logits.argmax(axis=1)).sum()


def test_numbers_of_a_diverged_model_stay_what_they_are() -> None:
    logits = np.array([[np.nan, 1, 2], [np.inf, 0, 0], [1e9, 2e9, 0]], dtype=np.float32)
    rounded = to_float16_keeping_argmax(logits)
    np.testing.assert_array_equal(rounded, logits)
    assert not overflowed(rounded)


@pytest.mark.parametrize(
    "row", [[65519.0, 65521.0], [7e4, 8e4], [-7e4, -8e4], [-8e4, -7e4], [3e38, 1.0], [1.0, 65504.0]]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_beyond_float16_keep_their_class_and_likelihood(
    row: list[float], dtype: type, tmp_path: Path
) -> None:
    logits = np.array([row, [1.0, 2.0]], dtype=dtype)
    labels = logits.argmax(axis=1)
    write(tmp_path / "a.npz", logits)
    found = read(tmp_path / "a.npz")
    assert np.isfinite(found).all()
    assert score(found, labels).right.all()
    np.testing.assert_allclose(score(found, labels).nll, score(logits, labels).nll, atol=2e-3)


def test_logits_that_an_earlier_version_rounded_to_infinity_are_known() -> None:
    assert overflowed(np.array([[1, np.inf]], np.float16))
    assert not overflowed(np.array([[1, 65504, np.nan]], np.float16))
    assert not overflowed(np.array([[1, np.inf]], np.float32))


def test_rounding_keeps_the_likeliest_class_of_each_set() -> None:
    rng = np.random.default_rng(0)
    # All seven logits round to one number of float16, or to two.
    logits = (rng.normal(size=(300, 1)) * 4 + rng.random((300, 7)) * 1e-4).astype(np.float32)
    sets = [np.arange(7), np.array([1, 4, 6]), np.array([4, 6])]
    rounded = to_float16_keeping_argmax(logits, sets)
    for among in sets:
        expected = logits[:, among].argmax(axis=1)
        np.testing.assert_array_equal(rounded[:, among].argmax(axis=1), expected)
    np.testing.assert_allclose(rounded.astype(float), logits, rtol=4e-3, atol=1e-3)


def test_what_is_read_is_what_was_written_and_numpy_alone_can_read_it(tmp_path: Path) -> None:
    logits, right = close(), np.arange(500) % 3 == 0
    write(tmp_path / "a.npz", logits, right)
    assert read(tmp_path / "a.npz").dtype == np.float16
    np.testing.assert_array_equal(read(tmp_path / "a.npz"), to_float16_keeping_argmax(logits))
    np.testing.assert_array_equal(read(tmp_path / "a.npz", "correct"), right)
    np.testing.assert_array_equal(
        np.load(tmp_path / "a.npz")["logits"], to_float16_keeping_argmax(logits)
    )
    assert (tmp_path / "a.npz").stat().st_size < 0.5 * logits.nbytes
    write(tmp_path / "b.npz", logits, right)
    assert (tmp_path / "b.npz").read_bytes() == (tmp_path / "a.npz").read_bytes()


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 and no more", b"\x80\x04K\x01."])
def test_a_file_that_holds_none_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(Unreadable, match=r"a\.npz does not hold 'logits' of a model"):
        read(tmp_path / "a.npz")


def test_answers_that_were_not_scored_have_no_correct(tmp_path: Path) -> None:
    write(tmp_path / "a.npz", close())
    with pytest.raises(Unreadable, match="does not hold 'correct'"):
        read(tmp_path / "a.npz", "correct")
