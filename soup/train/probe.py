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

from soup.data.images import Images, decoded
from soup.data.split import read_csv
from soup.data.transforms import evaluation, normalise, to_tensor
from soup.heldout import Result, heldout_images, scored
from soup.models import Architecture, library, open_model
from soup.params import Probe
from soup.progress import Advance, Track, untold
from soup.train.loop import Diverged


def probe(
    params: Probe,
    start: Path,
    development: Path,
    root: Path,
    target: Path,
    cache: Path,
    device: str,
    batch_size: int,
    track: Track = untold,
) -> Result:
    """Probe the model in `start`, and write it with its new head, scored, into `target`.

    Training images are seen as at evaluation, resized and cropped, without augmentation.

    Raises:
        Diverged: the loss is not a number.
    """
    architecture, model = open_model(start)
    model.to(device)
    rows = read_csv(development)
    train = [row for row in rows if row.split == "train"]
    images = decoded(train, root, architecture.classes, *evaluation(architecture), cache, track)
    with track("features", len(images)) as advance:
        inputs = features(model, images, architecture, batch_size, advance)
    labels = torch.from_numpy(images.labels).to(device)
    head = library(architecture.library).head(model)
    fit_head(inputs, labels, head, params.penalty, params.max_iterations)
    heldout = heldout_images(rows, root, architecture, cache, track)
    return scored(model, heldout, architecture, target, batch_size)


@torch.no_grad()
def features(
    model: nn.Module,
    images: Images,
    architecture: Architecture,
    batch_size: int = 256,
    advance: Advance = lambda _: None,
) -> Float[Tensor, "examples features"]:
    """What the head sees, for every image once."""
    assert images.pixels is not None
    device = next(model.parameters()).device
    compute = library(architecture.library).features
    parts = []
    for start in range(0, len(images), batch_size):
        pixels = to_tensor(images.pixels[start : start + batch_size]).to(device)
        parts.append(compute(model, normalise(pixels, architecture)).float())
        advance(len(pixels))
    return torch.cat(parts)


def fit_head(
    inputs: Float[Tensor, "examples features"],
    labels: Int[Tensor, " examples"],
    head: nn.Linear,
    penalty: float,
    max_iterations: int,
) -> float:
    """Train a head in place by L-BFGS on all examples at once; returns the final loss.

    Minimises mean cross-entropy + penalty * (|W - W_0|^2 + |b - b_0|^2), W_0, b_0 being the start.

    Raises:
        Diverged: the loss is not a number.
    """
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
        value = functional.cross_entropy(head(inputs), labels) + penalty * away
        value.backward()
        return value

    optimizer.step(objective)
    final = float(objective().detach())
    if not math.isfinite(final):
        raise Diverged("the loss of the linear probe is NaN: are the base model's weights whole?")
    return final
