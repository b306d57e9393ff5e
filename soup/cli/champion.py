"""soup champion: the registry's champion, how it came to be, and how to change it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soup.cli.terminal import print_json, say, table
from soup.errors import BadInput, Failure

if TYPE_CHECKING:  # MLflow takes seconds to import
    from soup.tracking import Event, Registry, Version

PARAMS = Path("params.yaml")
CACHE = Path(".cache/soup/registry")


class NotPromoted(Failure, RuntimeError):
    """The gate refused; the message has the figures."""


def show(model: str | None, uri: str | None, as_json: bool) -> None:
    """Versions with their aliases and results, and what was done to them."""
    from soup import tracking

    registry, name = opened(model, uri)
    found = tracking.versions(registry, name)
    held = tracking.aliases(registry, name)
    done = tracking.history(registry, name)
    if as_json:
        print_json(
            {
                "model": name,
                "registry": registry.uri,
                "aliases": held,
                "versions": [_facts(each, held) for each in found],
                "history": [vars(each) for each in done],
            }
        )
        return
    columns = ["version", "is", ">held-out errors", ">test, %", "recipe", "of", "commit"]
    table(f"{name} in {registry.uri}", columns, [_row(_facts(each, held)) for each in found])
    if done:
        shown = [(e.when[:19].replace("T", " "), e.who, _told(e), e.why) for e in done]
        table("history", ["when (UTC)", "who", "what", "why"], shown)


def promote(
    which: str, model: str | None, uri: str | None, force: bool, why: str | None, as_json: bool
) -> None:
    """Put a version to the gate.

    Raises:
        NotPromoted: it is not better than the champion.
    """
    from soup import tracking
    from soup.evaluation.metrics import Correct
    from soup.evaluation.promotion_gate import Decision, decide, scored

    if force and not why:
        raise BadInput("--force goes past the gate: say why, with --why")
    registry, name = opened(model, uri)
    version = tracking.version(registry, name, which)
    mine = scored(version.number, version.tags)

    def unknown() -> Correct | None:
        raise BadInput(
            f"{version} and the champion were not scored on the same held-out images; to score "
            "both, run 'python -m flows.register' in the project, or promote with --force --why"
        )

    def judge(holder: "Version | None") -> Decision:
        if force:
            return Decision(holder is None or holder.number != version.number, f"by hand: {why}")
        if holder is not None and mine.correct is None:
            unknown()
        back = tracking.rolled_back(registry, version)
        other = scored(holder.number, holder.tags) if holder else None
        decision = decide(replace(mine, rolled_back=back), other, unknown)
        told = f"{decision.reason}; {why}" if why else decision.reason
        return Decision(decision.promote, told)

    decision = tracking.promote(registry, version, judge)
    if as_json:
        print_json({"model": name, "version": version.number, **vars(decision)})
    if not decision.promote:
        raise NotPromoted(f"{version} is not promoted: {decision.reason}")
    if not as_json:
        say(f"[bold]{version}[/] is the champion: {decision.reason}")


def rollback(model: str | None, uri: str | None, to: str, why: str, as_json: bool) -> None:
    """Make the champion before, or any version, the champion again."""
    from soup import tracking

    registry, name = opened(model, uri)
    done = tracking.roll_back(registry, name, why, to)
    if as_json:
        print_json(vars(done))
    else:
        say(
            f"[bold]{name} version {done.number}[/] is the champion again; version "
            f"{done.champion} is 'previous' and is not promoted again but by hand"
        )


def copy(
    which: str,
    model: str | None,
    uri: str | None,
    to: str | None,
    new: str | None,
    experiment: str | None,
    as_json: bool,
) -> None:
    """Copy a version to another registry, or under another name."""
    from soup import tracking

    registry, name = opened(model, uri)
    found = tracking.version(registry, name, which)
    target = tracking.Store(to or registry.uri, experiment or new or name, Path("mlruns"))
    made = tracking.copy(registry, found, target, new or name, CACHE)
    if as_json:
        print_json({"model": made.model, "version": made.number, "registry": target.uri})
    else:
        say(
            f"[bold]{made}[/] of {target.uri} is a copy of {found}, every file as it was; "
            "promote it there with 'soup champion promote'"
        )


def opened(model: str | None, uri: str | None) -> "tuple[Registry, str]":
    """The registry, and the model's name: as given, or as the project in this folder says."""
    try:
        from soup.tracking import default_uri, registry_at
    except ImportError as error:
        raise BadInput(
            f"'soup champion' needs MLflow: pip install 'modelsoup[pipeline]' ({error})"
        ) from None
    if model is None:
        if not PARAMS.is_file():
            raise BadInput(f"no {PARAMS} in this folder: name the registered model with --model")
        from soup.config.params import load

        model = load(PARAMS).registry.model
    return registry_at(uri or default_uri(Path())), model


def _facts(version: "Version", held: dict[str, str]) -> dict[str, Any]:
    known = ("errors", "examples", "test_accuracy", "recipe", "ingredients", "commit", "run")
    tags = {key: version.tags[key] for key in (*known, "copied_from") if key in version.tags}
    is_ = [alias for alias, number in held.items() if number == version.number]
    return {"version": version.number, "aliases": sorted(is_), **tags}


def _row(facts: dict[str, Any]) -> Sequence[Any]:
    errors = f"{facts['errors']} of {facts['examples']}" if "errors" in facts else ""
    test = f"{100 * float(facts['test_accuracy']):.2f}" if "test_accuracy" in facts else ""
    made_of = (
        f"{len(json.loads(facts['ingredients']))} ingredients" if "ingredients" in facts else ""
    )
    is_ = ", ".join(facts["aliases"])
    recipe, commit = facts.get("recipe", ""), facts.get("commit", "")[:12]
    return (facts["version"], is_, errors, test, recipe, made_of, commit)


def _told(event: "Event") -> str:
    number, before = event.number, event.champion
    return {
        "promoted": f"promoted {number}" + (f" over {before}" if before else ""),
        "refused": f"refused {number}, {before} stays",
        "rolled back": f"rolled back {before} to {number}",
        "copied": f"copied, as {number}",
    }[event.what]
