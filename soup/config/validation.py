"""Strict models: every problem at once, each with its key, what it got and what is allowed."""

from typing import Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from soup.errors import BadInput

Model = TypeVar("Model", bound="Strict")


# Of a value that may be given in several: named in pydantic's places, unknown to whoever wrote it.
FORMS = ("range", "choices", "named", "given")


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


def check(model: type[Model], raw: object, source: str) -> Model:
    """Make a model of plain values; `source` names them in the error.

    Raises:
        ParamsError: a rule is broken.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problems = [_explain(model, dict(e)) for e in error.errors(include_url=False)]
        word = "problem" if len(problems) == 1 else "problems"
        lines = "\n".join(f"  {p}" for p in problems)
        raise ParamsError(f"{source}: {len(problems)} {word}\n{lines}") from None


def _explain(model: type[Strict], error: dict[str, Any]) -> str:
    where = ".".join(str(p) for p in error["loc"] if p not in FORMS) or "the file"
    match error["type"]:
        case "extra_forbidden":
            return f"{where}: unknown key{_known(model, error['loc'])}"
        case "missing":
            return f"{where}: missing"
        case _:
            got = "" if isinstance(error["input"], dict) else f", got {error['input']!r}"
            return f"{where}: {error['msg'].removeprefix('Value error, ')}{got}"


def _known(model: Any, loc: tuple[str | int, ...]) -> str:
    """The keys that stand where an unknown one was found."""
    for part in loc[:-1]:
        fields = {f.alias or name: f for name, f in getattr(model, "model_fields", {}).items()}
        if part not in fields:  # a key of a table, or the form of a dimension: still this model
            continue
        model = next(
            (t for t in _types(fields[str(part)].annotation) if hasattr(t, "model_fields")), None
        )
    names = [f.alias or name for name, f in getattr(model, "model_fields", {}).items()]
    return f"; known here: {', '.join(names)}" if names else ""


def _types(annotation: Any) -> list[Any]:
    return [annotation, *(t for arg in getattr(annotation, "__args__", ()) for t in _types(arg))]
