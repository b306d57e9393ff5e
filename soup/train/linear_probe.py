"""The linear probe (LP): a head on features computed once, as the start of every fine-tune (LP-FT).

Kumar et al., "Fine-tuning can distort pretrained features and underperform out-of-distribution",
ICLR 2022. The penalty pulls towards the start (a zero-shot head), without which a probe on few
images can be worse than zero-shot.
"""

import math
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from soup.data.loading.examples import examples
from soup.data.loading.image_store import ImageStore
from soup.data.split.manifest import Manifest
from soup.evaluation.heldout import Result, scored
from soup.files import of_file
from soup.models import library, open_model
from soup.models.transforms import image_input
from soup.train.features import kept_features
from soup.train.loop import Diverged
from soup.weights.shards import WEIGHTS_FILE

CHUNK = 1 << 16  # examples whose features are looked at together: 128 MB of 512 features


def probe(
    penalty: float,
    max_iterations: int,
    start: Path,
    development: Path,
    store: ImageStore,
    target: Path,
    device: str,
    batch_size: int,
) -> Result:
    """Probe the model in `start`, and write it with its new head, scored, into `target`.

    Training images are seen as at evaluation, resized and cropped, without augmentation. Their
    features are kept in the store's cache: with another penalty only the head is computed.

    Args:
        penalty: times the squared distance of the head's weights to where they start.
        max_iterations: of L-BFGS.

    Raises:
        Diverged: the loss is not a number.
    """
    architecture, model = open_model(start)
    model.to(device)
    manifest, classes = Manifest.load(development), architecture.classes
    inputs = image_input(architecture)
    train = examples(store, manifest.split("train"), classes, inputs)
    digest = of_file(start / WEIGHTS_FILE)
    seen = kept_features(model, digest, train, architecture, batch_size, store)
    fit_head(
        torch.from_numpy(seen),
        torch.from_numpy(train.labels),
        library(architecture.library).head(model),
        penalty,
        max_iterations,
    )
    heldout = examples(store, manifest.split("heldout"), classes, inputs)
    return scored(model, heldout, architecture, target, batch_size)


def fit_head(
    inputs: Float[Tensor, "examples features"],
    labels: Int[Tensor, " examples"],
    head: nn.Linear,
    penalty: float,
    max_iterations: int,
    chunk: int = CHUNK,
) -> float:
    """Train a head in place by L-BFGS on all examples at once; returns the final loss.

    Minimises mean cross-entropy + penalty * (|W - W_0|^2 + |b - b_0|^2), W_0, b_0 being the start.

    Args:
        inputs: may be mapped from a file: `chunk` examples at a time are in memory. If that is all
            of them, they stay on the head's device.

    Raises:
        Diverged: the loss is not a number.
    """
    device, count = head.weight.device, len(labels)
    labels = labels.to(device)
    if count <= chunk:
        inputs = inputs.to(device)
    start = [parameter.detach().clone() for parameter in head.parameters()]
    optimizer = torch.optim.LBFGS(
        head.parameters(), max_iter=max_iterations, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        away = sum(
            ((parameter - origin) ** 2).sum()
            for parameter, origin in zip(head.parameters(), start, strict=True)
        )
        value = torch.as_tensor(penalty * away)
        value.backward()
        total = value.detach()
        for at in range(0, count, chunk):
            wanted = labels[at : at + chunk]
            scores = head(inputs[at : at + chunk].to(device))
            part = functional.cross_entropy(scores, wanted) * (len(wanted) / count)
            part.backward()
            total = total + part.detach()
        return total

    optimizer.step(objective)
    final = float(objective())
    if not math.isfinite(final):
        raise Diverged("the loss of the linear probe is NaN: are the base model's weights whole?")
    return final
