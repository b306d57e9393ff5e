"""Strict models: every problem at once, each with its key, what it got and what is allowed."""

import math
import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from soup.errors import BadInput, some, without_password

Model = TypeVar("Model", bound="Strict")
NUMERAL = r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)(\D*)"  # a number, and what follows it
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
# Experiments and models have at most 256 characters in MLflow's PostgreSQL, keys 250.
Name = Annotated[str, Field(pattern=NAME, max_length=200)]

# Of a value that may be given in several: named in pydantic's places, unknown to whoever wrote it.
FORMS = ("range", "choices", "named", "given")

WHOLE, NUMBER, TABLE = "must be a whole number", "must be a number", "must be a table of keys"
WORDS = {  # kind of error in pydantic -> what the value must be
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": TABLE,
    "finite_number": "must be a finite number",
    "float_parsing": NUMBER,
    "float_type": NUMBER,
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": WHOLE,
    "int_parsing": WHOLE,
    "int_parsing_size": WHOLE,
    "int_type": WHOLE,
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "model_attributes_type": TABLE,
    "model_type": TABLE,
    "string_pattern_mismatch": "must be letters, digits, '.', '_' and '-', the first a letter or "
    "digit",
    "string_type": "must be text",
    "too_long": "has too many entries: at most {max_length}",
    "too_short": "has too few entries: at least {min_length}",
    "tuple_type": "must be a list",
}


class ParamsError(BadInput, ValueError):
    """Parameters that cannot be used; the message lists every problem."""


class Strict(BaseModel):
    """A frozen model that refuses keys it does not know."""

    # By name too: a key whose alias is a word of Python (`import`) or of pydantic (`register`).
    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True)


def short_for(key: str, **schema: Any) -> BeforeValidator:
    """Take a text alone for a table of one key; `schema`: what a form offers, if it offers both."""
    return BeforeValidator(
        lambda value: {key: value} if isinstance(value, str) else value, **schema
    )


def one_of(**schema: Any) -> BeforeValidator:
    """Take a number or text alone for a list of one; `schema` as in `short_for`."""
    return BeforeValidator(
        lambda value: [value] if type(value) in (int, float, str) else value, **schema
    )


def check(model: type[Model], raw: object, source: str) -> Model:
    """Make a model of plain values; `source` names them in the error.

    Raises:
        ParamsError: a rule is broken, or an address holds a password.
    """
    problems = [
        f"{place}: holds a password or token, which git, dvc.lock, MLflow and the report would "
        "keep; give the address without it (download what needs one to a file first)"
        for place in _secrets(raw)
    ]
    try:
        made = model.model_validate(raw)
        if not problems:
            return made
    except ValidationError as error:
        problems += [explain(model, dict(e)) for e in error.errors(include_url=False)]
    word = "problem" if len(problems) == 1 else "problems"
    lines = "\n".join(f"  {p}" for p in problems)
    raise ParamsError(f"{source}: {len(problems)} {word}\n{lines}")


def _secrets(raw: object, place: str = "") -> Iterator[str]:
    """The places of texts in plain values that hold an address with a password."""
    if isinstance(raw, str):
        if without_password(raw) != raw:
            yield place
    elif isinstance(raw, dict):
        for key, value in raw.items():
            yield from _secrets(value, f"{place}.{key}" if place else str(key))
    elif isinstance(raw, list | tuple):
        for index, value in enumerate(raw):
            yield from _secrets(value, f"{place}.{index}")


def explain(model: type[Strict], error: dict[str, Any]) -> str:
    place, kind, given = error["loc"], error["type"], error["input"]
    where = ".".join(str(p) for p in place if p not in FORMS) or "the file"
    if kind == "extra_forbidden":
        return f"{where}: unknown key{_known(model, place)}"
    if kind == "missing":
        return f"{where}: missing"
    must = error["msg"].removeprefix("Value error, ")
    limits = {
        name: int(limit) if isinstance(limit, float) and limit.is_integer() else limit
        for name, limit in error.get("ctx", {}).items()
    }
    if kind in WORDS:
        must = WORDS[kind].format(**limits)
    if place[-1:] == ("range",) and kind.startswith("model"):
        must = "must be a value, a list of values, or a range"
    got = "" if isinstance(given, dict) else f", got {given!r}"
    return f"{where}: {must}{got}{_remedy(error, must)}"


def _remedy(error: dict[str, Any], must: str) -> str:
    """What to write instead, where what was meant can be told; '' elsewhere."""
    given, meant = error["input"], ""
    written = re.fullmatch(NUMERAL, str(given), re.IGNORECASE)
    number, unit = (float(written[1]), written[2].strip()) if written else (math.nan, "")
    if error["type"] == "literal_error":
        near = get_close_matches(str(given), re.findall(r"'([^']*)'", must), n=1)
        meant = f"did you mean {near[0]}?" if near else ""
    elif error["type"] == "string_pattern_mismatch":
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", given).strip("-._")
        meant = f"such as {plain}" if plain else ""
    elif written is None:
        pass
    elif must == "must be text":
        meant = f"put it in quotes: '{given}'"
    elif must == "must be less than 1" and 2 <= number <= 100:
        meant = f"it is a share: {number:g}% is {number / 100:g}"
    elif must == WHOLE and not unit and math.isfinite(number):
        meant = f"such as {max(1, round(number))}"
    elif must == NUMBER and unit == "%":
        meant = f"write {number / 100:g}"
    elif must in (WHOLE, NUMBER) and unit != "%":
        meant = f"write {written[1]}, without {unit!r}"
    return f"; {meant}" if meant else ""


def _known(model: type[Strict], place: tuple[str | int, ...]) -> str:
    """The keys that stand where an unknown one was found, and which was meant."""
    key, at = str(place[-1]), _model_at(model, place[:-1])
    names = [*_fields(at)]
    near = get_close_matches(key, names, n=1)
    elsewhere = [*{path: 0 for path in _paths(model) if path.rpartition(".")[2] == key}]
    meant = near or elsewhere
    hint = f"; did you mean {some(meant, 3, last=' ')}?" if meant else ""
    return f"{hint}; known here: {', '.join(names)}" if names else hint


def _model_at(model: Any, place: tuple[str | int, ...]) -> Any:
    """The model that a place in the parameters is read by."""
    for part in place:
        fields = _fields(model)
        if part in fields:  # else a key of a table, or the form of a dimension: still this model
            model = next(iter(_models(fields[str(part)].annotation)), None)
    return model


def _fields(model: Any) -> dict[str, Any]:
    """The keys of a model; none of one that takes any key and checks them itself."""
    if getattr(model, "model_config", {}).get("extra") == "allow":
        return {}
    return {f.alias or name: f for name, f in getattr(model, "model_fields", {}).items()}


def _models(annotation: Any) -> Iterator[Any]:
    """The models in a type, such as Halving in Halving | None."""
    if hasattr(annotation, "model_fields"):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models(argument)


def _paths(model: Any, before: str = "") -> Iterator[str]:
    """The path of every key of a model, as in sweep.space.lr."""
    for name, field in _fields(model).items():
        yield before + name
        for inner in _models(field.annotation):
            yield from _paths(inner, f"{before}{name}.")
