"""What studies computed, kept by digest: a study that was killed goes on, and others use it too."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from soup.evaluation.answer_store import AnswerStore
from soup.evaluation.metrics import Logits, Score
from soup.files import BadJson, read_json, write_json


@dataclass
class Kept:
    """Values and logits under the digest of what they were computed from.

    A file that is damaged counts as missing, and is written anew.

    Attributes:
        folder: of the values; it can be deleted, which costs the passes that made them.
        answers: the logits, which evaluate keeps in the same place.
        computed, reused: how many were stored and found.
    """

    folder: Path
    answers: AnswerStore
    computed: int = 0
    reused: int = 0

    def value(self, digest: str) -> Any:
        """A JSON value, or None."""
        try:
            value = read_json(self._file(digest))
        except (OSError, BadJson):
            return None
        self.reused += 1
        return value

    def keep_value(self, digest: str, value: Any) -> None:
        """Store a JSON value without NaN."""
        write_json(self._file(digest), value)
        self.computed += 1

    def logits(self, digest: str) -> Logits | None:
        """Logits (examples, classes), or None."""
        logits = self.answers.find(digest)
        self.reused += logits is not None
        return logits

    def keep_logits(self, digest: str, logits: Logits) -> None:
        """Store logits, which were rounded as those of the pipeline are."""
        self.answers.keep(digest, logits)
        self.computed += 1

    def _file(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.json"


def packed(score: Score) -> dict[str, Any]:
    """A score as a JSON value."""
    return {
        "right": np.packbits(score.right).tobytes().hex(),
        "n": len(score.right),
        "nll": score.nll if np.isfinite(score.nll) else None,
        "ece": score.ece if np.isfinite(score.ece) else None,
    }


def unpacked(value: dict[str, Any]) -> Score:
    """The score of a JSON value."""
    bits = np.frombuffer(bytes.fromhex(value["right"]), dtype=np.uint8)
    right = np.unpackbits(bits, count=value["n"]).astype(np.bool_)
    return Score(right, number(value["nll"]), number(value["ece"]))


def number(value: Any) -> float:
    """A number of a JSON value, where NaN is null."""
    return float("nan") if value is None else float(value)
