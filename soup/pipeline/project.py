"""The paths of a project: an experiment's results, the caches, and the tracking store."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from soup.commit import git_commit
from soup.config.params import Params
from soup.data.hub.record import lineage
from soup.data.loading.image_store import ImageStore
from soup.data.progress import Track, no_progress
from soup.data.reading.limits import Limits
from soup.data.shifts.protocol import REAL
from soup.data.sources.bounds import bounds_of, require_inside
from soup.data.split.manifest import Manifest

if TYPE_CHECKING:  # MLflow takes seconds to import, and not every stage needs it
    from soup.evaluation.result_tables import Resampling
    from soup.tracking import Store

Say = Callable[[str], None]


@dataclass(frozen=True)
class Project:
    """A checkout and the parameters of one experiment.

    Attributes:
        root: the checkout.
        params: of the experiment.
        tags: put on every run.
        say: shows a line to the user.
        track: shows the progress of a piece of work.
    """

    root: Path
    params: Params
    tags: Mapping[str, str] = field(default_factory=dict)
    say: Say = lambda _: None
    track: Track = no_progress

    @property
    def out(self) -> Path:
        """The folder of the experiment's results, which DVC versions."""
        return self.root / "out" / self.params.experiment

    @property
    def images(self) -> Path:
        """The data root, which the paths of the manifests are relative to."""
        return self.root / self.params.data.root

    @property
    def unit(self) -> str:
        """What the examples are, for people: 'images' or 'texts'."""
        return unit_of(self.params)

    @property
    def development(self) -> Path:
        """The manifest of training and held-out images."""
        return self.out / "split" / "development.csv"

    @property
    def evaluation(self) -> Path:
        """The manifest of test and shifts; only the stage `evaluate` may read it."""
        return self.out / "split" / "evaluation.csv"

    @property
    def evaluated(self) -> tuple[str, ...]:
        """The splits that models are scored on, besides held-out."""
        data = self.params.data
        return ("test", *data.shifts, *([REAL] if data.real else []))

    @property
    def protocols(self) -> Path:
        """The evaluation protocols of the splits that need one."""
        return self.out / "split" / "protocols.json"

    @property
    def soup_heldout(self) -> Path:
        """The soup's held-out logits, and which are right.

        The file is not in the folder of the weights, because that folder is registered as it is.
        """
        return self.out / "soup-heldout.npz"

    @property
    def limits(self) -> Limits:
        """The largest picture that is read."""
        return Limits(**self.params.data.limits.model_dump())

    @property
    def cache(self) -> Path:
        return cache_of(self.root)

    def manifest(self, file: Path) -> Manifest:
        """One of the two manifests.

        Raises:
            DataError: the file is missing or no manifest, or names images that are not where the
                parameters say that images are.
        """
        manifest = Manifest.load(file)
        bounds = bounds_of(self.params.data, self.images)
        require_inside((row.path for row in manifest), self.images, bounds, file)
        return manifest

    def classes(self) -> tuple[str, ...]:
        """The class names of the development manifest; of numbers, the name of the one output.

        Raises:
            DataError: as `manifest`.
        """
        if self.predicts_numbers:
            return ("number",)
        return self.manifest(self.development).classes

    @property
    def predicts_numbers(self) -> bool:
        """Whether the labels are numbers, not classes."""
        return self.params.data.text is not None and self.params.data.text.predicts_numbers

    @property
    def resampling(self) -> "Resampling":
        """How intervals and tests are drawn."""
        from soup.evaluation.result_tables import Resampling

        wanted = self.params.evaluate
        return Resampling(wanted.bootstrap, wanted.confidence, wanted.seed)

    def image_store(self) -> ImageStore:
        """The images, and the cache of what is computed from them, within `compute.cache_gib`."""
        limit = self.params.compute.cache_gib
        return ImageStore(self.images, self.cache / "images", limit, self.track, self.limits)

    def store(self) -> "Store":
        """The experiment in MLflow.

        Raises:
            TrackingError: it does not answer.
        """
        return store_of(self.root, self.params.experiment, score_name(self.params))

    def lineage(self) -> dict[str, str]:
        """Tags of every run: the commit, DVC's hash (an MD5) of the split, the data set and commit
        of the hub, and those given."""
        md5 = hashlib.md5(self.development.read_bytes(), usedforsecurity=False).hexdigest()
        of_hub = lineage(self.images, self.params.data.hub)
        return {"commit": git_commit(self.root), "dvc.development.csv": md5, **of_hub, **self.tags}

    def device(self) -> str:
        """The device of a single model: 'cuda' or 'cpu'."""
        import torch

        wanted = self.params.compute.device
        if wanted == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return wanted


def cache_of(root: Path) -> Path:
    """The folder of a project for what can be made or fetched again."""
    return root / ".cache" / "soup"


def store_of(
    root: Path, experiment: str, score: str = "accuracy", reading: bool = False
) -> "Store":
    """An experiment of a project in MLflow; arguments and errors are those of `Store`."""
    from soup.tracking import Store, default_uri

    return Store(default_uri(root), experiment, root / "mlruns", score, reading)


def unit_of(params: Params) -> str:
    """What the examples of an experiment are, for people: 'images' or 'texts'."""
    return "images" if params.data.text is None else "texts"


def score_name(params: Params) -> str:
    """The name of the score by which the soups of an experiment are selected.

    The score is that of `soup.score`, or that of the GLUE task, or accuracy (of predicted numbers
    the mean of two correlations).
    """
    from soup.data.text.glue import TASKS

    text = params.data.text
    if text and text.predicts_numbers:
        return params.soup.score or "pearson-spearman"
    task = TASKS[text.task] if text and text.task else None
    return params.soup.score or (task.score if task else "accuracy")
