"""The splits of a project as data sets of MLflow: what runs used, and what scores are of."""

from soup.config.data import Source, in_hub
from soup.data.hub.record import load
from soup.data.reading.hugging_face import PREFIX as HFDS
from soup.data.shifts.protocol import REAL
from soup.data.split.manifest import Manifest
from soup.data.split.prepare import sources as image_sources
from soup.data.text.prepare import sources as text_sources
from soup.pipeline.project import Project
from soup.tracking.data_set import DataSet, HubSource

IMAGES = {"image": "binary"}
TEXTS = {"text": "string"}


def development_sets(project: Project) -> tuple[DataSet, DataSet]:
    """Train and held-out, which the sweep and the soup are made with.

    Raises:
        DataError: there is no split.
    """
    manifest = project.manifest(project.development)
    return _data_set(project, manifest, "train"), _data_set(project, manifest, "heldout")


def evaluation_sets(project: Project) -> tuple[DataSet, ...]:
    """Held-out, test and the shifts, on which models are scored; for `evaluate` alone.

    Raises:
        DataError: there is no split.
    """
    _, heldout = development_sets(project)
    manifest = project.manifest(project.evaluation)
    return heldout, *(_data_set(project, manifest, split) for split in project.evaluated)


def metrics_of(split: str) -> str:
    """How the names of the metrics of a split begin; 'shifts' is the mean over all shifts."""
    return split if split in ("heldout", "test", REAL, "shifts") else f"shift/{split}"


def _data_set(project: Project, manifest: Manifest, split: str) -> DataSet:
    data, rows = project.params.data, manifest.split(split)
    hub = data.hub.dataset if data.hub else ""
    metrics = metrics_of(split)
    context = {"train": "training", REAL: "test"}.get(split, metrics.replace("/", " "))
    counts = {"examples": len(rows)}
    if not project.predicts_numbers:
        counts["classes"] = len({row.label for row in rows})
    return DataSet(
        name=f"{hub or project.images.resolve().name}/{split}",
        digest=Manifest(rows).digest,
        context=context,
        metrics="" if split == "train" else metrics,
        source=_source(project, split),
        inputs=IMAGES if data.text is None else TEXTS,
        profile=counts,
    )


def _source(project: Project, split: str) -> str | HubSource:
    """Where the examples of a split are from; held-out ones are train's, unless they are apart."""
    data = project.params.data
    known = image_sources(data) if data.text is None else text_sources(data)
    within = {"heldout": "train", REAL: "test"}.get(split, "")
    source: Source = known.get(split) or known[within]
    if in_hub(source.path) and data.hub is not None:
        found = load(project.images, data.hub)
        config = found.config if found else data.hub.config
        revision = found.commit if found else data.hub.revision
        part = source.path.partition(":")[2]
        return HubSource(data.hub.dataset, config, part, revision)
    if source.path.startswith(HFDS):
        return HubSource(source.path.removeprefix(HFDS), split=source.split or within or split)
    return str((project.images / source.path).absolute())
