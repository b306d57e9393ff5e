"""The table of `soup champion show`: versions and their events."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from soup.evaluation.score_text import score_text

if TYPE_CHECKING:
    from soup.tracking import Event, Version

TAGS = (
    "errors", "examples", "score", "heldout_score", "test_accuracy", "test_score", "test_gain",
    "test_p",
    "recipe", "kept", "ingredients", "commit", "run", "copied_from",
)  # fmt: skip


def facts_of(version: "Version", aliases: dict[str, str]) -> dict[str, Any]:
    """The facts of a version, as JSON."""
    names = sorted(alias for alias, number in aliases.items() if number == version.number)
    tags = {key: version.tags[key] for key in TAGS if key in version.tags}
    return {"version": version.number, "aliases": names, **tags}


def row_of(facts: dict[str, Any]) -> tuple[Any, ...]:
    """The facts of a version, as a row of the table."""
    heldout = f"{facts['errors']} of {facts.get('examples', '?')}" if "errors" in facts else ""
    test = _figure(facts.get("test_accuracy"), lambda value: f"{100 * value:.2f}")
    if "score" in facts:  # other than accuracy: by it the version was chosen, and is promoted
        name = facts["score"]
        heldout = _figure(facts.get("heldout_score"), lambda value: score_text(name, value))
        test = _figure(facts.get("test_score"), lambda value: score_text(name, value))
    kept = facts.get("kept")
    if kept is None and "ingredients" in facts:  # registered before it was counted
        kept = facts["ingredients"].count(",") + 1
    made_of = f"{kept} ingredients" if kept else ""
    aliases = ", ".join(facts["aliases"])
    recipe, commit = facts.get("recipe", ""), facts.get("commit", "")[:12]
    gain = ""
    if "test_gain" in facts:
        gain = _figure(facts["test_gain"], lambda value: f"{100 * value:+.2f}")
        gain += _figure(facts.get("test_p"), lambda value: f" (p = {value:.2g})")
    return (facts["version"], aliases, heldout, test, gain, recipe, made_of, commit)


def _figure(text: str | None, write: Callable[[float], str]) -> str:
    """A number from a tag; '' if there is no such tag, 'damaged' if it is not a number."""
    try:
        return "" if text is None else write(float(text))
    except ValueError:
        return "damaged"


def sentence_of(event: "Event") -> str:
    """An event as a sentence."""
    number, before = event.number, event.champion
    return {
        "promoted": f"promoted {number}" + (f" over {before}" if before else ""),
        "refused": f"refused {number}, {before} stays",
        "rolled back": f"rolled back {before} to {number}",
        "copied": f"copied, as {number}",
    }[event.what]
