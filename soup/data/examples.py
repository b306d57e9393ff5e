"""The labelled examples of a split, images or texts, as a model takes them at evaluation."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from soup.data.loading.examples import ImageExamples, InputTransform
from soup.data.loading.examples import examples as image_examples
from soup.data.loading.image_store import ImageStore
from soup.data.split.manifest import Row
from soup.data.text.examples import TextExamples, text_examples


@runtime_checkable
class OfTexts(Protocol):
    """How a text becomes a model's input (`soup.models.text_input.TextInput`)."""

    @property
    def encode(self) -> Callable[..., Any]: ...

    @property
    def name(self) -> str: ...

    @property
    def pad(self) -> int: ...


def examples(
    store: ImageStore,
    rows: Sequence[Row],
    classes: Sequence[str],
    inputs: InputTransform | OfTexts,
) -> ImageExamples | TextExamples:
    """The examples of a manifest's rows.

    Args:
        store: the data root and the cache.
        classes: class names; the position of a name is its label.
        inputs: the input of the model's architecture (`soup.models.inputs`).
    """
    if isinstance(inputs, OfTexts):
        return text_examples(store, rows, classes, (inputs.encode, inputs.name, inputs.pad))
    return image_examples(store, rows, classes, inputs)
