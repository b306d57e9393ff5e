"""The held-out images of a project, on which every model is ranked and judged."""

from soup.data.loading.examples import ImageExamples, examples
from soup.data.split.manifest import Manifest
from soup.models import Architecture
from soup.models.transforms import image_input
from soup.pipeline.project import Project


def heldout_of(project: Project, architecture: Architecture) -> ImageExamples:
    """The held-out images, as a model of this architecture takes them.

    Raises:
        DataError: there is no split.
    """
    rows = Manifest.load(project.development).split("heldout")
    inputs = image_input(architecture)
    return examples(project.image_store(), rows, architecture.classes, inputs)
