"""The held-out set, and how a model does on it: what ingredients are ranked by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from soup.data.loading.array_cache import DEFAULT_CACHE_GIB
from soup.data.loading.images import Images, decoded
from soup.data.progress import Track, no_progress
from soup.data.split.prepare import Row, classes_of, read_csv
from soup.evaluation import prediction_file
from soup.evaluation.metrics import Logits, correct
from soup.evaluation.predict import predict
from soup.models import Architecture, open_model
from soup.models.transforms import evaluation
from soup.weights.checkpoint import save


@dataclass(frozen=True)
class Result:
    """Held-out errors among `examples`, and the folder of weights, description and answers."""

    errors: int
    examples: int
    folder: Path

    @property
    def weights(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def predictions(self) -> Path:
        """Held-out 'logits' (float16) and whether each is 'correct'."""
        return self.folder / "heldout.npz"

    @property
    def accuracy(self) -> float:
        return 1 - self.errors / self.examples


def heldout_images(
    rows: Sequence[Row],
    root: Path,
    architecture: Architecture,
    cache: Path,
    cache_gib: float = DEFAULT_CACHE_GIB,
    track: Track = no_progress,
) -> Images:
    """The held-out images among the rows, at the model's input size."""
    held = [row for row in rows if row.split == "heldout"]
    sized = evaluation(architecture)
    return decoded(held, root, architecture.classes, *sized, cache, cache_gib, track)


def scored(
    model: nn.Module,
    heldout: Images,
    architecture: Architecture,
    folder: Path,
    batch_size: int,
    notes: Mapping[str, str] | None = None,
    logits: Logits | None = None,
) -> Result:
    """Score a model on held-out and write it, with notes and its answers, into a folder.

    Args:
        logits: its answers, where they are known.
    """
    if logits is None:
        logits = predict(model, heldout, architecture, batch_size)
    right = correct(logits, heldout.labels)
    result = Result(int((~right).sum()), len(heldout), folder)
    architecture.save(folder / "model.json")
    save(model.state_dict(), result.weights, notes)
    prediction_file.write(result.predictions, logits, right)
    return result


def errors_of(folder: Path, development: Path, root: Path, cache: Path) -> int | None:
    """Held-out errors of the model in a folder; None if it knows other classes than the split."""
    architecture, model = open_model(folder)
    rows = read_csv(development)
    if architecture.classes != tuple(classes_of(rows)):
        return None
    heldout = heldout_images(rows, root, architecture, cache)
    return int((~correct(predict(model, heldout, architecture), heldout.labels)).sum())
