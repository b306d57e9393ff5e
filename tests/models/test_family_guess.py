"""A checkpoint is recognised by its tensors, for the message that says it is another model's."""

import pytest
import timm
import torch

from soup.models.family_guess import likeness


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=10)
    return {n: tuple(t.shape) for n, t in model.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet18", "a ResNet of basic blocks (blocks 2-2-2-2, 10 classes)"),
        ("resnet50", "a ResNet of bottlenecks (blocks 3-4-6-3, 10 classes)"),
        ("vit_tiny_patch16_224", "a ViT of timm's (width 192, patch 16, blocks 12, 10 classes)"),
        ("test_convnext", "a ConvNeXt of timm's"),
        ("efficientnet_b0", "an EfficientNet or MobileNet of timm's (width 32, a first 3 x 3"),
        ("swin_tiny_patch4_window7_224", "a Swin transformer of timm's"),
        ("densenet121", "a DenseNet"),
        ("vgg11", "a VGG or AlexNet"),
    ],
)
def test_models_of_timm_are_told_apart(name: str, told: str) -> None:
    assert likeness(shapes(name)).startswith(told)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["model.visual.proj", "classification_head.weight"], "published model-soups pool"),
        (["visual.trunk.x", "logit_scale"], "image tower of timm's"),
        (["visual.attnpool.x", "logit_scale"], "a CLIP with a ResNet"),
        (["visual.transformer.resblocks.0.x", "logit_scale"], "a CLIP with a ViT"),
        (["visual.transformer.resblocks.0.x", "head.weight"], "a classifier's head"),
        (["vision_model.encoder.layers.0.x"], "a CLIP of Hugging Face"),
        (["vit.embeddings.cls_token"], "a ViT of Hugging Face"),
        (["encoder.layers.encoder_layer_0.x"], "a ViT of torchvision"),
        (["a", "b"], "none of the known families"),
        ([], "none of the known families"),
    ],
)
def test_others_are_told_by_names_that_only_they_have(names: list[str], told: str) -> None:
    assert told in likeness(dict.fromkeys(names, (2, 2)))


def test_blocks_of_a_clip_are_those_of_its_image_tower() -> None:
    names = [f"visual.transformer.resblocks.{k}.x" for k in range(3)]
    names += [f"transformer.resblocks.{k}.x" for k in range(7)]
    found = likeness({**dict.fromkeys(names, (2,)), "logit_scale": ()})
    assert found == "a CLIP with a ViT (open_clip) (blocks 3)"
