"""Labelled images and a model that takes them: what checkpoints are scored and judged on."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from soup.data.loading.images import Images, decoded
from soup.data.sources.folders import DataError, check, scan
from soup.data.split.prepare import Row
from soup.errors import some
from soup.evaluation.heldout_loss import HeldoutLoss
from soup.evaluation.judges import TOP1_ERROR, ErrorFunction, ErrorJudge, Score, ScoreJudge
from soup.evaluation.metrics import Correct, Logits
from soup.evaluation.predict import predict
from soup.files import of_value
from soup.models import Architecture, ModelError, build, library, load_weights
from soup.models.by_name import resolve_architecture
from soup.models.transforms import evaluation, normalise, to_tensor
from soup.weights import Weights, display_name, specs
from soup.weights.checkpoint import Checkpoint

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelsoup"


@dataclass(frozen=True)
class Evaluator:
    """Labelled images, decoded once, and the model that weights are loaded into.

    Attributes:
        folder: where the images are.
        skipped: files that are no images, or cannot be read.
    """

    folder: Path
    images: Images
    architecture: Architecture
    models: tuple[nn.Module, ...]
    batch_size: int
    skipped: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def logits(self, weights: Weights) -> Logits:
        """float32 (examples, classes)."""
        self.load(self.models[0], weights)
        return predict(self.models[0], self.images, self.architecture, self.batch_size)

    def judges(
        self,
        correct: Sequence[Correct] = (),
        wrong: ErrorFunction = TOP1_ERROR,
        among: NDArray[np.int64] | None = None,
    ) -> list[ErrorJudge]:
        """One judge a device.

        Args:
            correct: for each ingredient, which images it got right: the order of the visit.
            among: indices of the images to look at, if not all.
        """
        part = np.arange(len(self)) if among is None else among
        assert self.images.pixels is not None
        pixels = to_tensor(self.images.pixels[part])
        labels = torch.from_numpy(self.images.labels[part])
        hard = [each[part] for each in correct]
        return [
            ErrorJudge(
                model, pixels, labels, hard, self.batch_size, wrong, self._prepare, self.load
            )
            for model in self.models
        ]

    def score_judges(self, score: Score) -> list[ScoreJudge]:
        """One judge a device, of any score."""
        assert self.images.pixels is not None
        pixels = to_tensor(self.images.pixels)
        labels = torch.from_numpy(self.images.labels)
        return [
            ScoreJudge(model, pixels, labels, score, self.batch_size, self._prepare, self.load)
            for model in self.models
        ]

    def batches(self, folder: Path) -> Sequence[torch.Tensor]:
        """Other images, whose labels do not matter, as the model takes them.

        Raises:
            DataError: there are none.
        """
        images, _ = _images(folder, self.architecture, None, lambda: None)
        assert images.pixels is not None
        device = next(self.models[0].parameters()).device
        whole = to_tensor(images.pixels).split(self.batch_size)
        return [self._prepare(batch.to(device)) for batch in whole]

    def objective(self) -> HeldoutLoss:
        """The cross-entropy, for recipes that learn."""
        assert self.images.pixels is not None
        pixels, labels = to_tensor(self.images.pixels), torch.from_numpy(self.images.labels)
        batch_size = min(self.batch_size, 256)
        return HeldoutLoss(
            self.models[0], pixels, labels, prepare=self._prepare, batch_size=batch_size
        )

    def fisher(self, weights: Weights, examples: int = 512, seed: int = 0) -> Weights:
        """The diagonal of the Fisher information, from the model's own labels on some images.

        Matena and Raffel, "Merging models with Fisher-weighted averaging", NeurIPS 2022, equation
        4: the mean over images x of the squared gradient of log p(y | x), with y drawn from p.
        """
        model, rng = self.models[0], np.random.default_rng(seed)
        assert self.images.pixels is not None
        self.load(model, weights)
        chosen = rng.permutation(len(self))[:examples]
        named = {n: p.requires_grad_(True) for n, p in model.named_parameters()}
        sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in named.items()}
        device = next(iter(named.values())).device
        for pixels in to_tensor(self.images.pixels[chosen]).split(1):
            scores = model(self._prepare(pixels.to(device))).float().log_softmax(1)[0]
            shares = scores.detach().double().exp().cpu().numpy()
            drawn = int(rng.choice(len(shares), p=shares / shares.sum()))
            slopes = torch.autograd.grad(scores[drawn], [*named.values()], allow_unused=True)
            for name, slope in zip(named, slopes, strict=True):
                if slope is not None:
                    sums[name] += slope.double().square()
        found = {name: (total / len(chosen)).cpu() for name, total in sums.items()}
        # Buffers have no gradient: they count alike in every model.
        return {n: found.get(n, torch.ones(s.shape)) for n, s in specs(weights).items()}

    def _prepare(self, pixels: torch.Tensor) -> torch.Tensor:
        return normalise(pixels, self.architecture)

    def load(self, model: nn.Module, weights: Weights) -> None:
        load_weights(model, weights, self.architecture.model)


def open_exam(
    folder: Path,
    model: str | None,
    weights: Checkpoint,
    devices: Sequence[str] = ("cpu",),
    batch_size: int = 256,
    advance: Callable[[], object] = lambda: None,
) -> Evaluator:
    """Read labelled images, `folder/<class>/<image>`, for a model.

    Args:
        model: 'timm:NAME', 'open_clip:NAME', a model.json, or None if the weights say it.
        weights: any of the models to be judged; the others are of the same architecture.
        advance: called once an image.

    Raises:
        DataError: no images, or their classes are not those of the model's head.
        ModelError: the model is not known, or the weights do not fit it.
    """
    found = sorted({image.label for image in scan(folder.resolve(), ".")[0]})
    architecture, named = resolve_architecture(model, weights, tuple(found))
    if named:
        extra = [name for name in found if name not in architecture.classes]
        if extra:
            raise DataError(
                f"{folder} has class folders that the model's head does not know: "
                f"{some(extra, 8, last=' ')}; it knows {some(architecture.classes, 8, last=' ')}"
            )
    built = tuple(build(architecture).to(device) for device in devices)
    _require_head(folder, found, built[0], architecture, weights)
    load_weights(built[0], weights, architecture.model)
    images, skipped = _images(folder, architecture, found, advance)
    return Evaluator(folder, images, architecture, built, batch_size, skipped)


def _images(
    folder: Path,
    architecture: Architecture,
    classes: Sequence[str] | None,
    advance: Callable[[], object],
) -> tuple[Images, tuple[str, ...]]:
    """The images of a folder; labels are positions among the model's classes."""
    root = folder.resolve()
    listed, misplaced = scan(root, ".")
    # Sizes and times tell whether the cache is of these files; each is decoded once, for the cache.
    good, bad = check(root, listed, "header", advance)
    rows = [Row(image.path, image.label, "heldout", content) for image, content in good]
    times = of_value([(root / row.path).stat().st_mtime_ns for row in rows])
    resize, how = evaluation(architecture)
    names = architecture.classes if classes is not None else sorted({row.label for row in rows})
    skipped = tuple(f"{folder}/{p.path}: {p.reason}" for p in [*misplaced, *bad])
    if not rows:
        raise DataError(f"{folder}: none of its {len(listed)} images can be read")
    return decoded(rows, root, names, resize, f"{how}, as of {times}", CACHE / "images"), skipped


def _require_head(
    folder: Path,
    found: Sequence[str],
    model: nn.Module,
    architecture: Architecture,
    weights: Weights,
) -> None:
    """Say so if nothing but the number of classes is wrong."""
    head = library(architecture.library).head(model)
    name = next(name for name, module in model.named_modules() if module is head) + ".weight"
    given = specs(weights).get(name)
    if given is not None and given.shape and given.shape[0] != head.out_features:
        raise DataError(
            f"{folder} has {len(found)} class folders ({some(found, 8, last=' ')}), but {name} of "
            f"{display_name(weights, 1)} has {given.shape[0]} rows: give one folder for each class "
            "of the head, or a model.json that names its classes"
        )
    if given is None and name not in weights:
        raise ModelError(
            f"{display_name(weights, 1)} has no {name}, which {architecture.model} wants; "
            f"it has {some(list(weights), 8, last=' ')}"
        )
