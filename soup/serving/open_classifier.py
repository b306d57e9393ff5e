"""Open the model in a folder as what it is, a classifier of images or of texts."""

from pathlib import Path

from soup.models import DESCRIPTION_FILE, Architecture
from soup.serving.classifier import Classifier
from soup.serving.text_classifier import TextClassifier

AnyClassifier = Classifier | TextClassifier


def open_classifier(folder: Path) -> AnyClassifier:
    """The classifier of a folder that holds `model.json` and `model.safetensors`.

    Raises:
        ModelError: the model cannot be opened.
    """
    of_text = Architecture.load(folder / DESCRIPTION_FILE).of_text
    return TextClassifier(folder) if of_text else Classifier(folder)
