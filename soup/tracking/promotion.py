"""Moving the champion, one at a time, with a record of who, when and why that nothing overwrites.

A registry has no locks. Who means to move writes that down as a tag of the registered model and
then looks for others: of two at once at least one sees the other, and steps back. What was written
down and not done, because its process was killed, is done by the next who looks.
"""

import getpass
import json
import os
import platform
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psutil
from mlflow.exceptions import MlflowException

from soup.evaluation.promotion_gate import Decision
from soup.tracking.limits import shortened
from soup.tracking.registry import Registry, Version, aliases, champion, version, versions
from soup.tracking.server_check import TrackingError
from soup.tracking.store import PREFIX

AUDIT = "audit."
MOVING = "moving."
PATIENCE = 30.0  # seconds
TRIES = 5


@dataclass(frozen=True)
class Event:
    """One thing that was done to a version.

    Attributes:
        what: 'promoted', 'refused', 'rolled back' or 'copied'.
        who: user@host, or MODELSOUP_ACTOR.
        when: UTC, ISO 8601.
        why: the figures, or a person's words.
        number: of the version that it was done to; of a roll-back, which is champion again.
        champion: number of the champion before, '' if there was none.
    """

    what: str
    who: str
    when: str
    why: str
    number: str
    champion: str


def actor() -> str:
    """Who acts: MODELSOUP_ACTOR, or user@host."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user need not have a name
        user = str(os.getuid())
    return os.environ.get("MODELSOUP_ACTOR") or f"{user}@{platform.node()}"


def event(what: str, why: str, number: str, holder: str = "") -> Event:
    """An event of now, by the present actor."""
    when = datetime.now(UTC).isoformat(timespec="microseconds")
    # Of 5,000 characters of a registered model's tag the rest of the record takes its part.
    return Event(what, shortened(actor(), 250), when, shortened(why, 3000), number, holder)


def note(registry: Registry, model: str, done: Event, also: str = "") -> None:
    """Write an event to its version, and to another that it is about; it overwrites none."""
    key = f"{PREFIX}{AUDIT}{done.when.replace(':', '').replace('+0000', 'Z')}"
    for number in filter(None, (done.number, also)):
        registry.client.set_model_version_tag(model, number, key, json.dumps(vars(done)))


def history(registry: Registry, model: str, number: str = "") -> list[Event]:
    """What was done to a model, or to one version of it; oldest first."""
    found: dict[str, Event] = {}
    for each in versions(registry, model):
        if number in ("", each.number):
            for key, value in each.tags.items():
                if key.startswith(AUDIT):
                    found[key + value] = Event(**json.loads(value))
    return [found[key] for key in sorted(found)]


def rolled_back(registry: Registry, found: Version) -> str:
    """Who rolled a version back and why, if that is the last that was done to it."""
    moves = [e for e in history(registry, found.model, found.number) if e.what != "refused"]
    if moves and moves[-1].what == "rolled back" and moves[-1].number != found.number:
        return f"version {found.number} was rolled back by {moves[-1].who}: {moves[-1].why}"
    return ""


def promote(
    registry: Registry, challenger: Version, judge: Callable[[Version | None], Decision]
) -> Decision:
    """Ask the judge about the present champion, and do what it decides; either way it is noted.

    The decision is made again if the champion has moved meanwhile.

    Raises:
        TrackingError: the registry refuses, or others keep moving the champion.
    """
    model = challenger.model
    for _ in range(TRIES):
        repair(registry, model)
        holder = champion(registry, model)
        before = holder.number if holder else ""
        decision = judge(holder)
        if not decision.promote:
            if before != challenger.number:
                note(registry, model, event("refused", decision.reason, challenger.number, before))
            return decision
        if _move(registry, model, event("promoted", decision.reason, challenger.number, before)):
            return decision
    raise TrackingError(f"{registry.uri}: others keep moving the champion of {model}; try again")


def roll_back(registry: Registry, model: str, why: str, to: str = "previous") -> Event:
    """Make an earlier version the champion again: the one before, or any.

    Raises:
        TrackingError: there is no such version, or others keep moving the champion.
    """
    for _ in range(TRIES):
        repair(registry, model)
        held = aliases(registry, model)
        if "champion" not in held:
            raise TrackingError(f"{registry.uri}: {model} has no champion to roll back")
        if to == "previous" and to not in held:
            raise TrackingError(
                f"{registry.uri}: {model} has had no champion before version {held['champion']}; "
                "name a version with --to"
            )
        target = version(registry, model, to)
        if target.number == held["champion"]:
            raise TrackingError(f"{target} is the champion already")
        done = event("rolled back", why, target.number, held["champion"])
        if _move(registry, model, done):
            return done
    raise TrackingError(f"{registry.uri}: others keep moving the champion of {model}; try again")


def repair(registry: Registry, model: str) -> list[Event]:
    """Finish what was begun and interrupted; what was finished.

    A move takes less than a second. One whose process is gone is finished at once, one of another
    host when it has not gone on for PATIENCE.
    """
    patience = time.monotonic() + PATIENCE
    finished = []
    while begun := _begun(registry, model):
        for key, intent in begun.items():
            if _dead(intent) or time.monotonic() > patience:
                finished.append(_finish(registry, model, key, intent))
        _pause()
    return finished


def _move(registry: Registry, model: str, done: Event) -> bool:
    """Move `champion` and `previous`; False if another moves them, or has, and nothing was done."""
    own = f"{PREFIX}{MOVING}{secrets.token_hex(8)}"
    intent = {**vars(done), **_process()}
    client = registry.client
    try:
        client.set_registered_model_tag(model, own, json.dumps(intent))
        alone = set(_begun(registry, model)) == {own}
        if alone and aliases(registry, model).get("champion", "") == done.champion:
            _finish(registry, model, own, intent)
            return True
        client.delete_registered_model_tag(model, own)
        _pause()
    except MlflowException as error:
        raise TrackingError(f"the registry at {registry.uri} refused {model}: {error}") from None
    return False


def _finish(registry: Registry, model: str, key: str, intent: Mapping[str, Any]) -> Event:
    """Every step may be done twice; the intent goes last, so that none is left out."""
    done = Event(**{name: intent[name] for name in Event.__dataclass_fields__})
    client = registry.client
    if aliases(registry, model).get("champion", "") in (done.champion, done.number):
        note(registry, model, done, also=done.champion)
        if done.champion:
            client.set_registered_model_alias(model, "previous", done.champion)
        client.set_registered_model_alias(model, "champion", done.number)
    client.delete_registered_model_tag(model, key)
    return done


def _begun(registry: Registry, model: str) -> dict[str, dict[str, Any]]:
    """Moves that someone is making, or was killed while making."""
    if not registry.client.search_registered_models(f"name = '{model}'"):
        return {}
    tags = registry.client.get_registered_model(model).tags
    return {k: json.loads(v) for k, v in tags.items() if k.startswith(PREFIX + MOVING)}


def _pause() -> None:
    """Of no fixed length: two that met must not meet again."""
    time.sleep(secrets.randbelow(500) / 1000)


def _process() -> dict[str, Any]:
    own = psutil.Process()
    return {"host": platform.node(), "pid": own.pid, "started": own.create_time()}


def _dead(intent: Mapping[str, Any]) -> bool:
    """Whether its process has ended; of another host that cannot be known from here."""
    if intent["host"] != platform.node():
        return False
    try:
        return abs(psutil.Process(intent["pid"]).create_time() - float(intent["started"])) > 1
    except psutil.NoSuchProcess:
        return True
