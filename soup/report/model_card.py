"""The model card: a README.md beside the weights, with front matter that model hubs read.

The front matter is YAML whose values are written as JSON, which YAML includes, so that no name of a
file or a class can be taken for syntax.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from soup.report import formatting

MOST = 200  # classes and ingredients that are listed
TASKS = {"images": "image-classification", "texts": "text-classification"}


class Figure(NamedTuple):
    """A score of the model on a split, and its interval (NaN if it is not known)."""

    split: str
    score: str
    value: float
    low: float
    high: float
    examples: int


@dataclass(frozen=True)
class Card:
    """What a model card says.

    Attributes:
        title: of the model.
        library: that opens the folder: 'timm', 'open_clip' or 'transformers'; '' if none is known.
        unit: 'images' or 'texts'.
        base: the initialisation, in words; '' for a model that has none.
        hub: its name on the Hugging Face hub, such as 'timm/resnet50.a1_in1k'; '' if it has none.
        licence: of the base; '' if it is not known.
        stated_by: who states the licence.
        recipe: that the soup was made by; '' for a model that is no soup.
        ingredients: name -> SHA-256 of the weights ('' if it is not known), in the order of the
            recipe.
        data: name of the data set that the figures are of.
        figures: the model's scores.
        confidence: of their intervals, a fraction.
        verdict: sentences on whether the soup is better than the best single model.
        classes: their names, in the order of the head.
        facts: more lines for a table, by name.
    """

    title: str
    library: str
    unit: str
    base: str
    hub: str = ""
    licence: str = ""
    stated_by: str = ""
    recipe: str = ""
    ingredients: Mapping[str, str] = field(default_factory=dict)
    data: str = "held-out"
    figures: Sequence[Figure] = ()
    confidence: formatting.Number = 0.95
    verdict: Sequence[str] = ()
    classes: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def card_text(card: Card) -> str:
    """The Markdown of a card, with front matter as the Hugging Face hub reads it."""
    parts = [_front_matter(card), f"# {_plain(card.title)}", _introduction(card), _use(card)]
    if card.figures:
        value = f"value ({formatting.interval_name(card.confidence)})"
        rows = [(f.split, f.score, _value(f), str(f.examples)) for f in card.figures]
        parts += [
            "## Scores",
            " ".join(map(_plain, card.verdict)),
            _table(("split", "score", value, "examples"), rows),
        ]
    licence = f"{card.licence}, as {card.stated_by} states it"
    licence = licence if card.licence else "not known: ask the owner of the base"
    facts = [
        *([("base", card.base)] if card.base else []),
        ("licence of the base", licence),
        *card.facts.items(),
    ]
    parts += ["## Origin", _table(("", ""), facts)]
    if card.ingredients:
        named = [(name, digest or "not known") for name, digest in card.ingredients.items()]
        parts += ["## Ingredients", _table(("name", "SHA-256 of the weights"), named[:MOST])]
        parts += [f"and {len(named) - MOST} more."] if len(named) > MOST else []
    if card.classes:
        shown = ", ".join(f"{i}: {_plain(name)}" for i, name in enumerate(card.classes[:MOST]))
        more = f", and {len(card.classes) - MOST} more" if len(card.classes) > MOST else ""
        parts += ["## Classes", f"{shown}{more}."]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(card: Card) -> str:
    values: dict[str, Any] = {}
    if card.library:
        values["library_name"] = card.library
    values["pipeline_tag"] = TASKS[card.unit]
    soup = ["model-soup", "weight-averaging"] if card.recipe else []
    values["tags"] = ["modelsoup", *soup]
    if card.licence:
        values["license"] = card.licence
    if card.hub:
        values["base_model"] = card.hub
        values["base_model_relation"] = "merge" if card.recipe else "finetune"
    if card.figures:
        values["model-index"] = [
            {"name": card.title, "results": [*map(_result(card), card.figures)]}
        ]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join(["---", *lines, "---"])


def _result(card: Card) -> Any:
    def result(figure: Figure) -> dict[str, Any]:
        name = f"{card.data} ({figure.split})"
        metric = {
            "type": figure.score,
            "value": round(figure.value, 6),
            "name": f"{figure.score}, {_value(figure)}",
        }
        data = {"type": card.data, "name": name, "split": figure.split}
        return {"task": {"type": TASKS[card.unit]}, "dataset": data, "metrics": [metric]}

    return result


def _introduction(card: Card) -> str:
    if not card.recipe:
        fine_tuned = f", fine-tuned from {_plain(card.base)}" if card.base else ""
        return f"A model of {card.unit}{fine_tuned}."
    count = len(card.ingredients)
    return (
        f"A model soup: the weights of {count} fine-tuned model{'s' if count != 1 else ''} of "
        f"{card.unit}, averaged by the recipe *{_plain(card.recipe)}*. It is one model of the size "
        "of each, and costs as much to use."
    )


def _use(card: Card) -> str:
    """How the library alone uses the folder."""
    code = {
        "timm": 'import timm\n\nmodel = timm.create_model("local-dir:FOLDER", pretrained=True)\n'
        "config = timm.data.resolve_model_data_config(model)\n"
        "transform = timm.data.create_transform(**config)",
        "open_clip": "import open_clip\nimport torch\nfrom safetensors.torch import load_file\n\n"
        'model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")\n'
        "features = model.eval().encode_image(images, normalize=True)\n"
        'head = load_file("FOLDER/model.safetensors")  # of the classifier\n'
        'logits = torch.nn.functional.linear(features, head["head.weight"], head["head.bias"])',
        "transformers": "from transformers import pipeline\n\n"
        'classify = pipeline("text-classification", model="FOLDER")',
    }
    if card.library not in code:
        return ""
    lines = code[card.library]
    if card.library == "open_clip" and not card.classes:  # a whole CLIP, and no classifier
        lines = (
            "import open_clip\n\n"
            'model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")\n'
            'tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")'
        )
    return f"## Use\n\n```python\n{lines}\n```"


def _value(figure: Figure) -> str:
    if math.isnan(figure.low) or math.isnan(figure.high):
        return f"{figure.value:.4f}"
    return f"{figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_plain(cell) for cell in line)} |" for line in lines)


def _plain(text: str) -> str:
    """Text that is one line, and nothing but text in a table of Markdown."""
    line = " ".join(str(text).split())
    for sign in "\\|<[`*":
        line = line.replace(sign, f"\\{sign}" if sign != "<" else "&lt;")
    return line
