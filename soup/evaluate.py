"""A model's logits on a set of images, and the judge of candidate soups on it."""

from collections.abc import Sequence

import torch
from torch import nn

from soup.data.images import Images
from soup.data.transforms import normalise, to_tensor
from soup.judging import NOT_TOP, ErrorJudge, Wrong
from soup.metrics import Correct, Logits
from soup.models import Architecture, load_weights


@torch.inference_mode()
def predict(
    model: nn.Module, images: Images, architecture: Architecture, batch_size: int = 256
) -> Logits:
    """Raw logits, float32 (examples, classes), in the order of the images.

    The model must be in evaluation mode; it runs on the device that it is on.
    """
    assert images.pixels is not None
    device = next(model.parameters()).device
    parts = []
    for start in range(0, len(images), batch_size):
        pixels = to_tensor(images.pixels[start : start + batch_size]).to(device)
        parts.append(model(normalise(pixels, architecture)).float().cpu())
    logits: Logits = torch.cat(parts).numpy()
    return logits


def heldout_judge(
    model: nn.Module,
    images: Images,
    architecture: Architecture,
    correct: Sequence[Correct] = (),
    batch_size: int = 256,
    wrong: Wrong = NOT_TOP,
) -> ErrorJudge:
    """A judge of held-out images, which are decoded once and held as uint8 on the model's device.

    Args:
        model: any model of the architecture; its weights are overwritten.
        correct: for each ingredient already scored, which examples it got right.
    """
    assert images.pixels is not None
    return ErrorJudge(
        model,
        to_tensor(images.pixels),
        torch.from_numpy(images.labels),
        correct,
        batch_size,
        wrong,
        prepare=lambda pixels: normalise(pixels, architecture),
        load=lambda model, weights: load_weights(model, weights, architecture.model),
    )
