"""The licence of a base model, as its source states it, and its name on the Hugging Face hub."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # a soup is written where pydantic is not installed
    from soup.config.params import Base

CARD_FILE = "README.md"
LONGEST = 1 << 20  # bytes of a model card that are read
LICENCE = re.compile(r"^license:[ \t]*[\"']?([A-Za-z0-9][\w.+-]*)[\"']?[ \t]*$", re.MULTILINE)


class Origin(NamedTuple):
    """What is known of a base; '' for what is not.

    Attributes:
        hub: its name on the Hugging Face hub.
        licence: as its source states it.
        source: who states it.
    """

    hub: str = ""
    licence: str = ""
    source: str = ""


def origin(base: "Base") -> Origin:
    """What the library, or a model card beside the weights, says of a base. Nothing is fetched."""
    if base.weights == "embedded":
        return Origin()
    if base.library == "timm":
        return timm_origin(base.model) if base.weights == "pretrained" else beside(base.weights)
    if base.library == "open_clip":
        import open_clip

        known = open_clip.get_pretrained_cfg(base.model, base.weights) or {}
        if hub := str(known.get("hf_hub", "")).rpartition("/")[0]:
            return Origin(hub)
        return beside(base.model.partition("local-dir:")[2] or base.weights)
    if Path(base.model).exists():
        return beside(base.model)
    return Origin(base.model) if "/" in base.model else Origin()


def timm_origin(model: str) -> Origin:
    """What timm says of the pretrained weights of a model."""
    import timm

    if not timm.is_model(model.partition(".")[0]):
        return Origin()
    pretrained = timm.get_pretrained_cfg(model, allow_unregistered=True)
    if pretrained is None or not pretrained.has_weights:
        return Origin()
    hub = str(pretrained.hf_hub_id or "")
    if hub.endswith("/"):
        hub += f"{model.partition('.')[0]}.{pretrained.tag}" if pretrained.tag else ""
    licence = str(pretrained.license or "")
    return Origin(hub if "/" in hub.strip("/") else "", licence, "timm" if licence else "")


def beside(path: str) -> Origin:
    """The licence in the front matter of the model card in a folder, or beside a file."""
    place = Path(path)
    licence = licence_in((place if place.is_dir() else place.parent) / CARD_FILE)
    return Origin(licence=licence, source="its model card" if licence else "")


def licence_in(card: Path) -> str:
    """The licence in the front matter of a model card; '' if there is none."""
    try:
        with card.open("rb") as file:
            text = file.read(LONGEST).decode("utf-8", "replace").replace("\r\n", "\n")
    except OSError:
        return ""
    if not text.startswith("---\n"):
        return ""
    found = LICENCE.search(text[4:].partition("\n---")[0])
    return found[1] if found else ""
