"""The model card of a folder that has none, from what its files say: a base, or an ingredient."""

from collections.abc import Mapping
from pathlib import Path

from soup.evaluation.diagnosis.low_scores import RECORD
from soup.models import DESCRIPTION_FILE, Architecture
from soup.models.licence import Origin, timm_origin
from soup.report.model_card import Card, card_text
from soup.weights.checkpoint import Checkpoint

# In the metadata of weights, by what a card calls it.
FACTS = {
    "lr": "learning rate",
    RECORD: "held-out accuracy when it was made",
}


def folder_card(folder: Path, title: str) -> str | None:
    """The text of a model card; None for a folder without a description.

    Args:
        title: of the model.

    Raises:
        ModelError: the description cannot be read.
        CheckpointError: the weights cannot be read.
    """
    if not (folder / DESCRIPTION_FILE).is_file():
        return None
    architecture = Architecture.load(folder / DESCRIPTION_FILE)
    notes: Mapping[str, str] = Checkpoint(folder).metadata
    # Only a name with the tag of its weights says whose they are.
    tagged = architecture.library == "timm" and "." in architecture.model
    known = timm_origin(architecture.model) if tagged else Origin()
    opens = architecture.library != "open_clip" or (folder / "open_clip_config.json").is_file()
    return card_text(
        Card(
            title=title,
            library=architecture.library if opens else "",
            unit=architecture.unit,
            base=f"the weights with SHA-256 {notes['base']}" if "base" in notes else "",
            hub=known.hub,
            licence=known.licence,
            stated_by=known.source,
            classes=architecture.classes,
            facts={
                "network": f"{architecture.library}:{architecture.model}",
                **{told: notes[key] for key, told in FACTS.items() if key in notes},
            },
        )
    )
