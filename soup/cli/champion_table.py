"""What `soup champion show` shows of a version and of what was done to it."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soup.tracking import Event, Version

TAGS = (
    "errors", "examples", "test_accuracy", "test_gain", "test_p",
    "recipe", "kept", "ingredients", "commit", "run", "copied_from",
)  # fmt: skip


def facts_of(version: "Version", aliases: dict[str, str]) -> dict[str, Any]:
    """What is shown of a version, as JSON."""
    names = sorted(alias for alias, number in aliases.items() if number == version.number)
    tags = {key: version.tags[key] for key in TAGS if key in version.tags}
    return {"version": version.number, "aliases": names, **tags}


def row_of(facts: dict[str, Any]) -> tuple[Any, ...]:
    """What is shown of a version, as a row of the table."""
    errors = f"{facts['errors']} of {facts['examples']}" if "errors" in facts else ""
    test = f"{100 * float(facts['test_accuracy']):.2f}" if "test_accuracy" in facts else ""
    kept = facts.get("kept")
    if kept is None and "ingredients" in facts:  # registered before it was counted
        kept = len(json.loads(facts["ingredients"]))
    made_of = f"{kept} ingredients" if kept else ""
    aliases = ", ".join(facts["aliases"])
    recipe, commit = facts.get("recipe", ""), facts.get("commit", "")[:12]
    gain = ""
    if "test_gain" in facts:
        gain = f"{100 * float(facts['test_gain']):+.2f} (p = {float(facts['test_p']):.2g})"
    return (facts["version"], aliases, errors, test, gain, recipe, made_of, commit)


def sentence_of(event: "Event") -> str:
    """What was done, in words."""
    number, before = event.number, event.champion
    return {
        "promoted": f"promoted {number}" + (f" over {before}" if before else ""),
        "refused": f"refused {number}, {before} stays",
        "rolled back": f"rolled back {before} to {number}",
        "copied": f"copied, as {number}",
    }[event.what]
