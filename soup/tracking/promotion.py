"""Moving the champion, one at a time, with a record of who, when and why that nothing overwrites.

A registry has no locks. Who means to move writes that down as a tag of the registered model and
then looks for others: of two at once at least one sees the other, and steps back. What was written
down and not done, because its process was killed, is done by the next who looks. Tags that say
nothing that can be done are set aside and told, so that they block nobody.
"""

import json
import math
import platform
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import psutil
from mlflow.exceptions import MlflowException

from soup.evaluation.promotion_gate import Decision
from soup.tracking.audit import Event, Unreadable, event, facts_of, note, tell
from soup.tracking.registry import Registry, Version, aliases, champion, version
from soup.tracking.server_check import TrackingError
from soup.tracking.tracked import PREFIX

MOVING = "moving."
DAMAGED = "damaged."  # in the place of MOVING: what is set aside
PATIENCE = 30.0  # seconds
TRIES = 5


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
        for key, text in begun.items():
            late = time.monotonic() > patience
            try:
                intent = _intent(text)
                if late or _dead(intent):
                    finished.append(_finish(registry, model, key, intent))
            except Unreadable as error:  # it may be of another version of this program, at work
                if late:
                    _set_aside(registry, model, key, text, error)
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
    except Unreadable as error:
        client.delete_registered_model_tag(model, own)
        raise TrackingError(f"{registry.uri}: {model} cannot be moved: {error}") from None
    except MlflowException as error:
        raise TrackingError(f"the registry at {registry.uri} refused {model}: {error}") from None
    return False


def _finish(registry: Registry, model: str, key: str, intent: Mapping[str, Any]) -> Event:
    """Every step may be done twice; the intent goes last, so that none is left out."""
    done = Event.of(intent)
    client = registry.client
    if aliases(registry, model).get("champion", "") in (done.champion, done.number):
        try:
            note(registry, model, done, also=done.champion)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise Unreadable(f"there is no version {done.number} or {done.champion}") from None
        if done.champion:
            client.set_registered_model_alias(model, "previous", done.champion)
        client.set_registered_model_alias(model, "champion", done.number)
    client.delete_registered_model_tag(model, key)
    return done


def _begun(registry: Registry, model: str) -> dict[str, str]:
    """Key and text of the moves that someone is making, or was killed while making."""
    if not registry.client.search_registered_models(f"name = '{model}'"):
        return {}
    tags = registry.client.get_registered_model(model).tags
    return {k: v for k, v in tags.items() if k.startswith(PREFIX + MOVING)}


def _intent(text: str) -> dict[str, Any]:
    """A move, with the process that makes it.

    Raises:
        Unreadable: the text of the tag is none.
    """
    try:
        intent: dict[str, Any] = facts_of(text)
    except ValueError as error:
        raise Unreadable(str(error)) from None
    if Event.of(intent).what not in ("promoted", "rolled back"):
        raise Unreadable("'what' is no move")
    pid, started = intent.get("pid"), intent.get("started")
    if type(intent.get("host")) is not str or type(pid) is not int or not 0 <= pid < 1 << 31:
        raise Unreadable("it names no process")
    if not isinstance(started, int | float) or not math.isfinite(started):
        raise Unreadable("it does not say when its process started")
    return intent


def _set_aside(registry: Registry, model: str, key: str, text: str, error: Unreadable) -> None:
    """Keep a tag under a name that stops nobody, and tell of it."""
    aside = f"{PREFIX}{DAMAGED}{key.removeprefix(PREFIX + MOVING)}"
    registry.client.set_registered_model_tag(model, aside, text)
    registry.client.delete_registered_model_tag(model, key)
    tell(registry, model, aside, error, f"it was {key}, and is set aside under this name")


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
