"""What was done to the versions of a model: who, when and why, in tags that nothing overwrites.

Anybody who may write to the registry may damage a tag, so each is checked before it is believed.
"""

import getpass
import json
import logging
import os
import platform
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from soup import limits
from soup.errors import presentable, without_password
from soup.files import parse_json
from soup.tracking.limits import shortened
from soup.tracking.registry import Registry, Version, versions
from soup.tracking.store import PREFIX

AUDIT = "audit."
WHAT = ("promoted", "refused", "rolled back", "copied")

_log = logging.getLogger(__name__)


class Unreadable(ValueError):
    """A tag that does not say what was done, or is to be done."""


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

    @staticmethod
    def of(facts: Any) -> "Event":
        """An event from the JSON of a tag.

        Raises:
            Unreadable: it is none.
        """
        names = Event.__dataclass_fields__
        if not isinstance(facts, dict) or not all(type(facts.get(n)) is str for n in names):
            raise Unreadable(f"it is no table of {', '.join(names)}, each a text")
        done = Event(**{name: facts[name] for name in names})
        if done.what not in WHAT:
            raise Unreadable(f"'what' is none of {', '.join(WHAT)}")
        numbers = (done.number, done.champion or "1")
        if not all(re.fullmatch(r"[1-9][0-9]{0,17}", number, re.ASCII) for number in numbers):
            raise Unreadable("'number' or 'champion' is no number of a version")
        return done


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
    """What was done to a model, or to one version of it; oldest first.

    A tag that cannot be read is told, as a warning of the log, and left out.
    """
    found: dict[str, Event] = {}
    for each in versions(registry, model):
        if number in ("", each.number):
            for key, value in each.tags.items():
                if key.startswith(AUDIT):
                    try:
                        found[key + value] = Event.of(facts_of(value))
                    except ValueError as error:
                        tell(registry, each, PREFIX + key, error, "it is left out")
    return [found[key] for key in sorted(found)]


def rolled_back(registry: Registry, found: Version) -> str:
    """Who rolled a version back and why, if that is the last that was done to it."""
    moves = [e for e in history(registry, found.model, found.number) if e.what != "refused"]
    if moves and moves[-1].what == "rolled back" and moves[-1].number != found.number:
        return f"version {found.number} was rolled back by {moves[-1].who}: {moves[-1].why}"
    return ""


def facts_of(text: str) -> Any:
    """The JSON of a tag; raises ValueError if it is none."""
    return parse_json(text, "it", limits.TAG_TEXT)


def tell(registry: Registry, whose: object, key: str, error: Exception, done: str) -> None:
    """Warn of a damaged tag, and say what was done about it."""
    text = (
        f"the tag {key} of {whose} at {without_password(registry.uri)} is damaged: {error}; "
        f"{done}. Look at it on the page of {whose} in MLflow, and mend or delete it there"
    )
    _log.warning("%s", presentable(text))
