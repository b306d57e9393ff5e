"""The linear probe (LP): train the head alone; every fine-tune starts from the result (LP-FT).

Kumar et al., "Fine-tuning can distort pretrained features and underperform out-of-distribution",
ICLR 2022. A penalty pulls the head towards its start (a zero-shot head): without the penalty, a
probe on few images can be worse than zero-shot.
"""

import math
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from soup.data.examples import examples
from soup.data.loading.image_store import ImageStore
from soup.data.split.manifest import Manifest
from soup.evaluation.heldout import Result, scored
from soup.files import of_file
from soup.models import library, open_model
from soup.models.inputs import model_input
from soup.threads import available, dealt, one_thread
from soup.train.features import kept_features
from soup.train.loop import Diverged
from soup.weights.shards import WEIGHTS_FILE

CHUNK = 1 << 16  # examples whose features are in memory together: 128 MB of 512 features
PART = 1 << 13  # examples of a part on a CPU, where each lane computes one


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
    """Train the head of the model in `start`; write the model and its held-out score to `target`.

    Training images are resized and cropped as at evaluation, without augmentation. Their features
    are kept in the cache: with another penalty, only the head is trained again.

    Args:
        penalty: factor of the squared distance of the head's weights to their start.
        max_iterations: of L-BFGS.
        start: folder of the model.
        development: the manifest of training and held-out images.
        store: the images, and the cache of their features.
        target: folder of the result.
        device: where the model computes, such as 'cuda'.
        batch_size: images a pass.

    Raises:
        Diverged: the loss is not a number.
    """
    architecture, model = open_model(start)
    model.to(device)
    manifest, classes = Manifest.load(development), architecture.classes
    inputs = model_input(architecture)
    train = examples(store, manifest.split("train"), classes, inputs)
    digest = of_file(start / WEIGHTS_FILE)
    train_features = kept_features(model, digest, train, architecture, batch_size, store)
    features, labels = torch.from_numpy(train_features), torch.from_numpy(train.labels)
    head = library(architecture.library).head(model)
    if architecture.predicts_numbers:
        fit_numbers(features, labels, head, penalty)
    else:
        fit_head(features, labels, head, penalty, max_iterations)
    heldout = examples(store, manifest.split("heldout"), classes, inputs)
    return scored(model, heldout, architecture, target, batch_size)


@torch.no_grad()
def fit_numbers(
    inputs: Float[Tensor, "examples features"],
    labels: Float[Tensor, " examples"],
    head: nn.Linear,
    penalty: float,
    chunk: int = PART,
) -> float:
    """Train a head of one output in place by ridge regression, and return its mean squared error.

    Minimises mean squared error + penalty * |W - W_0|^2 exactly, in float64 on the CPU; W_0 is the
    start. The bias is not penalised.

    Args:
        inputs: what the head sees; may be memory-mapped.
        labels: the numbers to predict.
        chunk: examples that a lane has in memory at a time.

    Raises:
        Diverged: a feature or a label is not finite.
    """
    count, start = len(labels), head.weight[0].double().cpu()
    parts = [*zip(inputs.split(chunk), labels.double().split(chunk), strict=True)]
    centre, middle = torch.zeros_like(start), torch.zeros((), dtype=torch.float64)

    def moments(part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        centred, y = part[0].double() - centre, part[1]
        return centred.T @ centred / count, centred.T @ (y - middle) / count

    def squares(part: tuple[Tensor, Tensor]) -> Tensor:
        return ((part[0].double() - centre) @ weight + middle - part[1]).square().sum()

    with one_thread():
        if head.bias is not None:
            centre = sum((x.double().sum(dim=0) for x, _ in parts), centre) / count
            middle = labels.double().mean()
        gram = torch.eye(len(start), dtype=torch.float64) * penalty
        target = penalty * start
        for square, product in dealt(moments, parts, available()):
            gram += square
            target += product
        # With collinear features and no penalty there are many solutions; this is the smallest.
        weight = torch.linalg.lstsq(gram, target[:, None], driver="gelsd").solution[:, 0]
        error = float(torch.stack([*dealt(squares, parts, available())]).sum() / count)
    if not math.isfinite(error):
        raise Diverged("the linear probe is not finite: are the base model's weights whole?")
    head.weight.copy_(weight[None])
    if head.bias is not None:
        head.bias.copy_(middle - centre @ weight)
    return error


def fit_head(
    inputs: Float[Tensor, "examples features"],
    labels: Int[Tensor, " examples"],
    head: nn.Linear,
    penalty: float,
    max_iterations: int,
    chunk: int | None = None,
) -> float:
    """Train a head in place by L-BFGS on all examples at once, and return the final loss.

    Minimises mean cross-entropy + penalty * (|W - W_0|^2 + |b - b_0|^2), W_0, b_0 being the start.
    On a CPU lanes compute the parts: the result does not depend on how many there are.

    Args:
        inputs: what the head sees; may be memory-mapped.
        labels: class indices.
        head: changed in place.
        penalty: see the equation.
        max_iterations: of L-BFGS.
        chunk: examples of a part, by default `PART` on a CPU, else `CHUNK`; if this is all of
            them, they stay on the device.

    Raises:
        Diverged: the loss is not a number.
    """
    device, count = head.weight.device, len(labels)
    on_cpu = device.type == "cpu"
    size = chunk or (PART if on_cpu else CHUNK)
    labels = labels.to(device)
    if count <= size:
        inputs = inputs.to(device)
    parameters = [*head.parameters()]
    start = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=max_iterations, line_search_fn="strong_wolfe"
    )

    def with_gradients(loss: Tensor) -> tuple[Tensor, ...]:
        return loss.detach(), *torch.autograd.grad(loss, parameters)

    def part(first: int) -> tuple[Tensor, ...]:
        wanted = labels[first : first + size]
        scores = head(inputs[first : first + size].to(device))
        return with_gradients(functional.cross_entropy(scores, wanted) * (len(wanted) / count))

    def objective() -> Tensor:
        distance = sum(
            ((parameter - origin) ** 2).sum()
            for parameter, origin in zip(parameters, start, strict=True)
        )
        sums = with_gradients(torch.as_tensor(penalty * distance))
        for terms in dealt(part, range(0, count, size), available() if on_cpu else 1):
            sums = tuple(a + b for a, b in zip(sums, terms, strict=True))
        loss, *gradients = sums
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return loss

    with one_thread():
        optimizer.step(objective)
        final = float(objective())
    if not math.isfinite(final):
        raise Diverged("the loss of the linear probe is NaN: are the base model's weights whole?")
    return final
