"""A guess of the architecture of a checkpoint from the names and shapes of its tensors."""

import re
from collections.abc import Mapping

Shapes = Mapping[str, tuple[int, ...]]

# Parts of tensor names that only this family has, and its description; special families first.
FAMILIES: list[tuple[tuple[str, ...], str]] = [
    (
        ("model.visual.", "classification_head."),
        "a model of the published model-soups pool: convert it with `soup import`",
    ),
    (("visual.trunk.", "logit_scale"), "a CLIP with an image tower of timm's (open_clip)"),
    (("visual.attnpool.", "logit_scale"), "a CLIP with a ResNet (open_clip)"),
    (("visual.transformer.resblocks.", "logit_scale"), "a CLIP with a ViT (open_clip)"),
    (
        ("visual.", "head.weight"),
        "a CLIP's image tower with a classifier's head, as this pipeline writes it",
    ),
    (("vision_model.encoder.",), "a CLIP of Hugging Face transformers, whose names differ"),
    (("vit.embeddings.",), "a ViT of Hugging Face transformers, whose names differ"),
    (("relative_position_bias_table",), "a Swin transformer of timm's"),
    (("token_mixer", "stages."), "a MetaFormer or FastViT of timm's"),
    (("blocks.0.attn.qkv.weight", "patch_embed."), "a ViT of timm's"),
    (("conv_stem.weight", "blocks.0.0."), "an EfficientNet or MobileNet of timm's"),
    (("stages.0.blocks.0.conv_dw.",), "a ConvNeXt of timm's"),
    (("denseblock1.",), "a DenseNet"),
    (("encoder_layer_0",), "a ViT of torchvision, whose names differ"),
    (("layer1.0.conv3.", "layer4.0."), "a ResNet of bottlenecks"),
    (("layer1.0.conv1.", "layer4.0."), "a ResNet of basic blocks"),
    (("features.0.weight", "features.3."), "a VGG or AlexNet"),
]
# First convolutions: (width, colours, patch, patch).
STEMS = (".patch_embed.proj.weight", ".visual.conv1.weight", ".conv_stem.weight", ".stem.0.weight")
HEADS = ("head", "fc", "classifier", "head.fc", "classification_head")
BLOCKS = re.compile(r"(?:^|\.)(layer\d|stages\.\d|resblocks|blocks|layers)\.(\d+)\.")


def likeness(shapes: Shapes) -> str:
    """A phrase with the family, size and number of classes, as far as they can be guessed.

    Args:
        shapes: tensor name -> shape.
    """
    names = list(shapes)
    family = next(
        (
            description
            for marks, description in FAMILIES
            if all(any(mark in name for name in names) for mark in marks)
        ),
        "none of the known families",
    )
    facts = _blocks(names)
    stem = next((s for n, s in shapes.items() if len(s) == 4 and f".{n}".endswith(STEMS)), None)
    if stem:
        size = f"patch {stem[2]}" if stem[2] > 7 else f"a first {stem[2]} x {stem[2]}"
        facts = [f"width {stem[0]}", size, *facts]
    heads = [shapes.get(f"{name}.weight", ()) for name in HEADS]
    facts += [f"{head[0]} classes" for head in heads if len(head) == 2][:1]
    return f"{family} ({', '.join(facts)})" if facts else family


def _blocks(names: list[str]) -> list[str]:
    """The number of blocks in each stage; those of the image tower if there are two towers."""
    counts: dict[str, set[int]] = {}
    image = [n for n in names if "visual." in n or "vision_model." in n] or names
    for name in image:
        if block := BLOCKS.search(name):
            counts.setdefault(block[1], set()).add(int(block[2]))
    sizes = [str(len(numbers)) for _, numbers in sorted(counts.items())]
    return [f"blocks {', '.join(sizes)}".replace(", ", "-")] if sizes else []
