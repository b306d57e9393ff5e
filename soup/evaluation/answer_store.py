"""The answers (logits) of models, kept on disk under the digest of all that they depend on.

The pipeline, its studies and the `soup` command keep them here, so that no example is put through
the same model twice. What is found has the bits of what was kept: figures are the same whether
answers were computed now or before.

A file that is missing, damaged, or of another digest counts as not kept. The folder can be deleted
at any time, and may be read-only. Several processes may use it at once: files appear whole.
"""

import logging
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from soup import limits
from soup.evaluation import prediction_file
from soup.evaluation.metrics import Logits
from soup.files import atomic_write

_log = logging.getLogger(__name__)


@dataclass
class AnswerStore:
    """A folder of answers, of which those used longest ago are removed if they exceed a limit.

    What this store has found or kept is not removed by it. So where the answers of one evaluation
    exceed the limit, those that have room are found by the next: removing the oldest of them would
    leave it none, as it asks in the same order.

    Attributes:
        folder: holds a file for each answer.
        limit_gib: what all files may take together, GiB.
    """

    folder: Path
    limit_gib: float = field(default_factory=lambda: limits.ANSWERS_GIB)
    _used: set[str] = field(default_factory=set)
    _refused: bool = False

    def find(self, digest: str) -> Logits | None:
        """The logits (examples, classes) that were kept, with the bits they had; or None."""
        file = self._file(digest)
        try:
            # The name in the file is the digest, and the format has a checksum.
            logits: Logits = prediction_file.read(file, digest)
        except prediction_file.Unreadable:
            return None
        self._used.add(file.name)
        with suppress(OSError):
            os.utime(file)
        return logits

    def keep(self, digest: str, logits: Logits) -> None:
        """Keep logits, if there is room for them; a folder that cannot be written is said once."""
        file = self._file(digest)
        try:
            if self._make_room(logits.nbytes):
                with atomic_write(file) as aside, aside.open("wb") as out:
                    # Not compressed: zlib would save an eighth of the space, in much time.
                    arrays: dict[str, Any] = {digest: logits}
                    np.savez(out, **arrays)
                self._used.add(file.name)
        except OSError as error:
            if not self._refused:
                _log.warning("answers are not kept, to be computed again next time: %s", error)
            self._refused = True

    def _make_room(self, size: int) -> bool:
        """Remove the answers used longest ago until so many bytes fit; False if they cannot."""
        limit = int(self.limit_gib * limits.GIB)
        files = []
        for path in self.folder.glob("*.npz"):
            with suppress(FileNotFoundError):  # another process removed it at this moment
                stat = path.stat()
                files.append((stat.st_mtime_ns, stat.st_size, path))
        total = sum(taken for _, taken, _ in files)
        spare = [entry for entry in sorted(files) if entry[2].name not in self._used]
        if size + total - sum(taken for _, taken, _ in spare) > limit:
            return False
        for _, taken, path in spare:
            if total + size <= limit:
                break
            path.unlink(missing_ok=True)
            total -= taken
        return True

    def _file(self, digest: str) -> Path:
        return self.folder / f"{digest}.npz"
