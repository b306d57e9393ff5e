"""The examples that soups are cooked by: held-out to judge on, and some of train for BatchNorm."""

from soup.data.examples import examples
from soup.evaluation.examples import Examples
from soup.models import Architecture
from soup.models.batchnorm import spread_evenly
from soup.models.inputs import model_input
from soup.pipeline.project import Project


def heldout_of(project: Project, architecture: Architecture) -> Examples:
    """The held-out examples, as a model of this architecture takes them.

    Raises:
        DataError: there is no split.
    """
    rows = project.manifest(project.development).split("heldout")
    inputs = model_input(architecture)
    return examples(project.image_store(), rows, architecture.classes, inputs)


def training_of(project: Project, architecture: Architecture, most: int) -> Examples:
    """Some training images, spread over the classes, as a model takes them at evaluation.

    Args:
        most: how many of them.

    Raises:
        DataError: there is no split.
    """
    rows = project.manifest(project.development).split("train")
    chosen = [rows[index] for index in spread_evenly(len(rows), most)]
    return examples(project.image_store(), chosen, architecture.classes, model_input(architecture))
