"""docs/parameters.md has every key of a parameter file, and no other."""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from soup.config.data import Source
from soup.config.params import Params
from tests.checkouts import REPO


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each key with its field; those below a key follow it."""
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        yield key, field
        for kind in models(field.annotation):
            below = f"{key}.NAME." if "dict[" in str(field.annotation) else f"{key}."
            yield from keys(kind, "SOURCE." if kind is Source else below)


def models(annotation: Any) -> list[type[BaseModel]]:
    """The models in an annotation whose keys the page lists: not those of a dimension or recipe."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        known = annotation.__name__ not in ("Range", "Epochs", "RandAugment", "Recipe")
        return [annotation] if known else []
    inner = getattr(annotation, "__args__", ())
    return [kind for part in inner for kind in models(part)]


def test_the_page_of_keys_has_all_of_them_and_no_other() -> None:
    page = (REPO / "docs" / "parameters.md").read_text()
    written = re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)
    assert sorted(set(written)) == sorted({key for key, _ in keys(Params)})
    assert len(written) == len(set(written))


def test_the_page_says_of_a_key_what_the_code_says() -> None:
    page = (REPO / "docs" / "parameters.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \|[^|]*\| (.*) \|$", page, re.MULTILINE)
    meanings = dict(rows)
    told = {key: field.description for key, field in keys(Params) if field.description}
    assert len(told) > 100
    assert {key: meanings[key] for key in told if meanings[key] != told[key]} == {}
