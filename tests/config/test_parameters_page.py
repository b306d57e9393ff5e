"""docs/parameters.md has every key of a parameter file, and says of each what the code says."""

import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from soup.config.data import Source
from soup.config.params import Params
from tests.checkouts import REPO


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
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
    return [kind for part in get_args(annotation) for kind in models(part)]


def choices(annotation: Any) -> list[str]:
    """The words that a key takes, where they are fixed; of a table, its keys."""
    if get_origin(annotation) is Literal:
        return [*get_args(annotation)]
    return [word for part in get_args(annotation) for word in choices(part)]


def written(value: Any) -> str:
    """A default as a parameter file would give it; '' of a section of which every key has one."""
    if isinstance(value, Source):
        return value.path
    if isinstance(value, BaseModel):
        given = value.model_dump(mode="json", exclude_unset=True)
        return written(given) if given else ""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {written(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(written(item) for item in value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def default(field: FieldInfo) -> str:
    """The cell of the column "default"."""
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True)
    text = "none" if value is None else written(value)
    return text if value is None or not text else f"`{text}`"


PAGE = (REPO / "docs" / "parameters.md").read_text()
ROWS = re.findall(r"^\| `([^`]+)` \|([^|]*)\| (.*) \|$", PAGE, re.MULTILINE)
MEANINGS = {key: meaning for key, _, meaning in ROWS}
FIELDS = dict(keys(Params))


def test_the_page_of_keys_has_all_of_them_and_no_other() -> None:
    assert sorted(key for key, *_ in ROWS) == sorted(FIELDS)


def test_the_page_says_of_a_key_what_the_code_says() -> None:
    told = {key: field.description for key, field in FIELDS.items() if field.description}
    assert len(told) > 100
    words = {key: choices(field.annotation) for key, field in FIELDS.items()}
    expected = {
        key: f"{text} ({', '.join(f'`{word}`' for word in words[key])})" if words[key] else text
        for key, text in told.items()
    }
    assert {key: MEANINGS[key] for key in told if MEANINGS[key] != expected[key]} == {}


def test_the_page_has_the_words_that_a_key_takes() -> None:
    words = {key: choices(field.annotation) for key, field in FIELDS.items()}
    fixed = {key: [f"`{word}`" for word in found] for key, found in words.items() if found}
    assert len(fixed) > 15
    assert {k: w for k, w in fixed.items() if not MEANINGS[k].endswith(f"({', '.join(w)})")} == {}


def test_the_page_has_the_default_of_each_key() -> None:
    shown = {key: cell.strip() for key, cell, _ in ROWS}
    expected = {key: default(field) for key, field in FIELDS.items()}
    assert {key: cell for key, cell in expected.items() if shown[key] != cell} == {}
