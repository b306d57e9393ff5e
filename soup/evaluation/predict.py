"""A model's logits on a set of images, and the judge of candidate soups on it."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from soup.data.loading.images import Images
from soup.data.loading.prefetch import on_device, parts
from soup.evaluation.judges import TOP1_ERROR, ErrorFunction, ErrorJudge
from soup.evaluation.metrics import Correct, Logits
from soup.models import Architecture, load_weights
from soup.models.transforms import evaluation, normalise, to_tensor


@torch.inference_mode()
def predict(
    model: nn.Module,
    images: Images,
    architecture: Architecture,
    batch_size: int = 256,
    bf16: bool = False,
) -> Logits:
    """Raw logits, float32 (examples, classes), in the order of the images.

    The model must be in evaluation mode; it runs on the device that it is on. Images that are not
    held at one size are read, and resized as at evaluation.

    Args:
        bf16: compute in bfloat16 where the device is CUDA: about three digits of each logit.
    """
    device = next(model.parameters()).device
    batches = on_device(
        ((to_tensor(part),) for part in parts(sized(images, architecture), batch_size)),
        device,
        lambda pixels: normalise(pixels, architecture),
    )
    with torch.autocast("cuda", torch.bfloat16, enabled=bf16 and device.type == "cuda"):
        # On a GPU the answers stay there to the end, for each copy back would wait for the model.
        logits: Logits = torch.cat([model(batch).float() for (batch,) in batches]).cpu().numpy()
    return logits


def sized(images: Images, architecture: Architecture) -> Images:
    """The same images, resized as at evaluation if nothing else is done to them."""
    if images.pixels is not None or images.resize is not None:
        return images
    return replace(images, resize=evaluation(architecture)[0])


def heldout_judge(
    model: nn.Module,
    images: Images,
    architecture: Architecture,
    correct: Sequence[Correct] = (),
    batch_size: int = 256,
    wrong: ErrorFunction = TOP1_ERROR,
) -> ErrorJudge:
    """A judge of held-out images, which are held as uint8 on the model's device, all of them.

    Args:
        model: any model of the architecture; its weights are overwritten.
        correct: for each ingredient already scored, which examples it got right.
    """
    return ErrorJudge(
        model,
        to_tensor(sized(images, architecture).part(0, len(images))),
        torch.from_numpy(images.labels),
        correct,
        batch_size,
        wrong,
        prepare=lambda pixels: normalise(pixels, architecture),
        load=lambda model, weights: load_weights(model, weights, architecture.model),
    )
