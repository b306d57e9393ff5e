"""Several models asked the same: what each answers, and how long it takes.

An ensemble averages the logits of its members (`soup.evaluation.ensemble`), and passes the example
through one after the other.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from soup.errors import BadInput
from soup.evaluation.metrics import Logits
from soup.models import build
from soup.models.by_name import numbered, resolve_architecture
from soup.models.text_by_folder import text_architecture
from soup.serving.classifier import Classifier, answers
from soup.serving.open_classifier import AnyClassifier
from soup.serving.text_classifier import TextClassifier
from soup.weights.checkpoint import Checkpoint

TOP = 5  # classes of an answer
REPEATS = 5  # passes that are timed
REPEATING = 0.2  # seconds, after which no further pass is timed
NOT_A_NUMBER = "the model's output is not a number"


@dataclass(frozen=True)
class Entry:
    """What is asked: a model, or an ensemble of several.

    Attributes:
        title: such as 'best single'.
        note: which model it is, or of how many.
        folders: of the models; with more than one, their logits are averaged.
    """

    title: str
    note: str
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class Answer:
    """What an entry says to one example.

    Attributes:
        title: of the entry.
        shares: probability by class, the likeliest `TOP`, in their order; empty of numbers.
        number: what a model of numbers predicts, else None.
        seconds: of the forward passes alone, the fastest of up to `REPEATS`.
        error: why there is no answer; '' if there is one.
    """

    title: str
    shares: Mapping[str, float]
    number: float | None
    seconds: float
    error: str = ""

    @property
    def label(self) -> str:
        """The answer in a word; '' if there is none."""
        if self.number is not None:
            return f"{self.number:.3f}"
        return next(iter(self.shares), "")


class SideBySide:
    """Models of pictures or of texts, of the same classes, asked one after the other.

    Attributes:
        entries: what is asked, in order.
        of_text: whether the models read texts; else they see pictures.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        """Open the models, each folder once, and pass an example through each.

        Raises:
            BadInput: a model cannot be opened, or some read texts and some see pictures, or
                they differ in classes.
        """
        self.entries = list(entries)
        folders = dict.fromkeys(folder for entry in entries for folder in entry.folders)
        self._models = {folder: open_folder(folder) for folder in folders}
        _require_alike(self._models)
        self._first = next(iter(self._models.values()))
        self.of_text = self._first.architecture.of_text
        # One thread computes all: the first pass in a new one takes many times as long.
        self._thread = ThreadPoolExecutor(1, "models")
        for model in self._models.values():
            self._thread.submit(model.try_out).result()

    def ask(self, example: Any) -> list[Answer]:
        """What each entry answers.

        Args:
            example: of pictures an encoded file (bytes) or an array; of texts a text, or two.

        Raises:
            BadInput: the example cannot be used; the message gives the reason.
        """
        inputs = self._read(example)
        return [self._thread.submit(self._answer, entry, inputs).result() for entry in self.entries]

    def _read(self, example: Any) -> dict[str, Any]:
        """The example as each model reads it, by `reading`: models differ in size and crop."""
        inputs: dict[str, Any] = {}
        for model in self._models.values():
            if model.reading in inputs:
                continue
            [read] = model.read([example])
            if isinstance(read, str):
                noun = "text" if self.of_text else "picture"
                raise BadInput(f"this {noun} cannot be used: {read}")
            inputs[model.reading] = read
        return inputs

    def _answer(self, entry: Entry, inputs: Mapping[str, Any]) -> Answer:
        logits, seconds = self._passes(entry, inputs)
        mean: Logits = np.stack(logits).astype(np.float64).sum(axis=0) / len(logits)
        architecture = self._first.architecture
        if architecture.predicts_numbers:
            number = float(mean[0, 0])
            finite = bool(np.isfinite(number))
            error = "" if finite else NOT_A_NUMBER
            return Answer(entry.title, {}, number if finite else None, seconds, error)
        [row] = answers(mean, architecture.classes)
        shares = row["probabilities"] or {}
        likeliest = sorted(shares, key=lambda name: -shares[name])[:TOP]
        top = {name: shares[name] for name in likeliest}
        return Answer(entry.title, top, None, seconds, row["error"] or "")

    def _passes(self, entry: Entry, inputs: Mapping[str, Any]) -> tuple[list[Logits], float]:
        """The logits of an entry's models, and the seconds of its passes: the fastest of some.

        Other programs of the machine slow single passes down, small ones many times.
        """
        models = [self._models[folder] for folder in entry.folders]
        asked = [(model, inputs[model.reading]) for model in models]
        seconds: list[float] = []
        while not seconds or (len(seconds) < REPEATS and sum(seconds) < REPEATING):
            began = time.perf_counter()
            logits = [model.logits([read]) for model, read in asked]
            seconds.append(time.perf_counter() - began)
        return logits, min(seconds)


def open_folder(folder: Path) -> AnyClassifier:
    """The classifier of a folder that this project, timm or transformers wrote.

    Raises:
        BadInput: the folder does not say what model it holds, or the model cannot be opened.
    """
    checkpoint = Checkpoint(folder)
    architecture = text_architecture(checkpoint)
    if architecture is None:
        architecture = numbered(resolve_architecture(None, checkpoint, ("0",)), checkpoint)
    kind = TextClassifier if architecture.of_text else Classifier
    return kind(folder, (architecture, build(architecture, checkpoint, str(folder))))


def _require_alike(models: Mapping[Path, AnyClassifier]) -> None:
    (first, one), *others = models.items()
    for folder, other in others:
        if other.noun != one.noun:
            raise BadInput(
                f"{first} is a model of {one.noun} and {folder} one of {other.noun}: models that "
                "are compared have the same input"
            )
        if other.architecture.classes != one.architecture.classes:
            raise BadInput(
                f"{first} and {folder} have other classes, or the same in another order: "
                f"{_classes(one)} and {_classes(other)}"
            )


def _classes(model: AnyClassifier) -> str:
    names = model.architecture.classes
    return f"{len(names)} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
