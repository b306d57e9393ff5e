"""Held-out, test and the shifts: their examples, and what counts as a right answer to them."""

from soup.data.examples import examples
from soup.data.shifts.protocol import EvaluationProtocol, load
from soup.data.text.examples import labels_of
from soup.evaluation.answer_store import AnswerStore
from soup.evaluation.examples import Examples
from soup.evaluation.targets import Targets, among_all, among_present, targets_of
from soup.models import Architecture
from soup.models.inputs import model_input
from soup.pipeline.project import Project


def sets_of(
    project: Project, architecture: Architecture, heldout: Examples
) -> tuple[dict[str, Examples], dict[str, Targets]]:
    """The examples and the right answers of each split; some splits share their images."""
    classes = architecture.classes
    manifest, protocols = project.manifest(project.evaluation), load(project.protocols)
    sets: dict[str, Examples] = {"heldout": heldout}
    targets = {"heldout": among_all("heldout", heldout.labels, len(classes))}
    paths: dict[str, list[str]] = {}
    for split in project.evaluated:
        rows = manifest.split(split)
        paths[split] = [row.path for row in rows]
        protocol = protocols.get(split, EvaluationProtocol())
        labelled = [(row.path, row.label) for row in rows]
        if architecture.predicts_numbers:
            numbers = labels_of([row.label for row in rows], classes)
            targets[split] = among_present(split, numbers)
        else:
            targets[split] = targets_of(split, labelled, classes, protocol, paths)
        if not protocol.of:
            names = [*(protocol.answers or classes)]
            inputs = model_input(architecture, protocol.border)
            sets[split] = examples(project.image_store(), rows, names, inputs)
    return sets, targets


def answers_of(project: Project) -> AnswerStore:
    """What models answered before, on any split: for evaluate and studies, and nobody else."""
    return AnswerStore(project.cache / "answers", project.params.compute.cache_gib)
