"""The logits of models on the examples of a split: kept ones, those of the runs, or computed.

All logits are rounded to float16, the precision of stored logits (float32 where a model's logits
are beyond float16). The likelihood and calibration of
all models therefore have one precision, and a model has the same figures whether its logits are
read or computed. The rounding does not change accuracy.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from soup.evaluation.answer_store import AnswerStore
from soup.evaluation.examples import Examples
from soup.evaluation.metrics import Logits
from soup.evaluation.prediction_file import overflowed, to_float16_keeping_argmax
from soup.evaluation.targets import Targets, columns_of
from soup.files import of_code, of_libraries, of_value
from soup.models import Architecture
from soup.models.lanes import LARGEST
from soup.weights import Weights

Find = Callable[[str, str], Logits | None]
Keep = Callable[[str, str, str, Logits], None]


@dataclass(frozen=True)
class Source:
    """A model whose logits are wanted.

    Attributes:
        name, kind: as in the result table.
        run_id: the run that stores the model's predictions.
        weights: loads the weights. Called for each split, so that only one model's weights are in
            memory.
        digest: the digest of the weights, computed when it is first asked for.
        heldout: reads the stored held-out logits; None if there are none.
        stored: split -> digest of the logits that the run is known to store.
    """

    name: str
    kind: str
    run_id: str
    weights: Callable[[], Weights]
    digest: Callable[[], str]
    heldout: Callable[[], Logits] | None = None
    stored: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PredictionCache:
    """Logits of models on splits, float16 or float32 (examples, classes).

    Attributes:
        sets: split -> its examples.
        targets: split -> its targets; the most likely of the possible answers is the same after
            the rounding.
        architecture: of all models.
        compute: weights, examples -> logits.
        kept: splits whose logits are stored in the models' runs.
        find: split, digest -> stored logits, or None.
        keep: run id, split, digest, logits -> None; stores the logits.
        how: split -> any setting that changes the logits; part of the digest.
        answers: keeps the logits of all splits on this machine; None keeps none.
    """

    sets: Mapping[str, Examples]
    targets: Mapping[str, Targets]
    architecture: Architecture
    compute: Callable[[Weights, Examples], Logits]
    kept: Collection[str] = ()
    find: Find = lambda _split, _digest: None
    keep: Keep = lambda _run_id, _split, _digest, _logits: None
    how: Callable[[str], str] = lambda _split: ""
    answers: AnswerStore | None = None

    def __call__(self, model: Source, split: str) -> Logits:
        """The logits of a model on a split, which its run then stores if the split is in `kept`."""
        if split == "heldout" and model.heldout is not None:
            stored = model.heldout()
            if not overflowed(stored):
                return to_float16_keeping_argmax(stored)
        if split not in self.kept and self.answers is None:
            return self._computed(model, split)
        digest = self._digest(model, split)
        logits = None if self.answers is None else self.answers.find(digest)
        is_new = logits is None
        if split in self.kept and (logits is None or model.stored.get(split) != digest):
            logits = self._of_runs(model, split, digest, logits)
        if logits is None:
            logits = self._computed(model, split)
        if is_new and self.answers is not None:
            self.answers.keep(digest, logits)
        return logits

    def _of_runs(self, model: Source, split: str, digest: str, known: Logits | None) -> Logits:
        """The logits that a run stores, which the model's run does from now on if none did."""
        stored = self.find(split, digest)
        if stored is not None and not overflowed(stored):
            return stored if known is None else known
        logits = self._computed(model, split) if known is None else known
        self.keep(model.run_id, split, digest, logits)
        return logits

    def _computed(self, model: Source, split: str) -> Logits:
        exact = self.compute(model.weights(), self.sets[split])
        return to_float16_keeping_argmax(exact, columns_of(self.targets, split))

    def _digest(self, model: Source, split: str) -> str:
        columns = columns_of(self.targets, split)
        examples = self.sets[split].digest
        how = self.how(split)
        return digest_of_logits(model.digest(), examples, self.architecture, how, columns)


def digest_of_logits(
    weights: str,
    examples: str,
    architecture: Architecture,
    how: str,
    columns: Sequence[NDArray[np.int64]],
) -> str:
    """Identifies stored logits by all that they depend on.

    Args:
        weights, examples: their digests.
        how: any setting that changes the logits.
        columns: the sets of classes that the model chooses among, as in `columns_of`.
    """
    code = of_code("soup.models", "soup.evaluation.predict")
    made_by = [
        code,
        torch.__version__,
        of_libraries(architecture.package),
        architecture.text(),
        how,
        *(among.tolist() for among in columns),
    ]
    return of_value([weights, examples, made_by])


def how_computed(device: str, batch_size: int, bf16: bool = False) -> str:
    """Names all that the last bits of logits depend on beside weights, examples and code.

    Args:
        device: 'cpu' or another.
        batch_size: the most examples in the model at once.
        bf16: whether bfloat16 is used where there is a GPU.
    """
    if device == "cpu":
        kind = torch.backends.cpu.get_cpu_capability()
        return f"{kind}, batches of {min(batch_size, LARGEST)}"
    return f"{device}, batches of {batch_size}" + (", bfloat16" if bf16 else "")


def digest_of(weights: Weights) -> str:
    """SHA-256 of the names, dtypes, shapes and values of weights that are in no file."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
