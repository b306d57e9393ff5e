"""The audit of a model's versions (what was done, by whom, when and why), kept in tags.

This project never overwrites these tags. But anybody who can write to the registry can damage a
tag, so each tag is checked when it is read.
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
from soup.tracking.tracked import PREFIX

AUDIT = "audit."
WHAT = ("promoted", "refused", "rolled back", "copied")

_log = logging.getLogger(__name__)


class Unreadable(ValueError):
    """A tag does not hold an event or a promotion under way."""


@dataclass(frozen=True)
class Event:
    """An event: something that was done to a version.

    Attributes:
        what: 'promoted', 'refused', 'rolled back' or 'copied'.
        who: user@host, or MODELSOUP_ACTOR.
        when: UTC, ISO 8601.
        why: the figures of the gate, or a person's reason.
        number: the version that it was done to; for a roll-back, the restored champion.
        champion: number of the previous champion, '' if there was none.
    """

    what: str
    who: str
    when: str
    why: str
    number: str
    champion: str

    @staticmethod
    def of(facts: Any) -> "Event":
        """Make an event from the JSON of a tag.

        Raises:
            Unreadable: the JSON does not hold an event.
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
    """The name of the present user: MODELSOUP_ACTOR, or user@host."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # the user of a container may have no name
        user = str(os.getuid())
    return os.environ.get("MODELSOUP_ACTOR") or f"{user}@{platform.node()}"


def event(what: str, why: str, number: str, holder: str = "") -> Event:
    """Make an event of this moment, by the present user."""
    when = datetime.now(UTC).isoformat(timespec="microseconds")
    # A tag of a registered model has at most 5,000 characters; the other fields need some of them.
    return Event(what, shortened(actor(), 250), when, shortened(why, 3000), number, holder)


def note(registry: Registry, model: str, done: Event, also: str = "") -> None:
    """Write an event to its version, and to a second version (`also`), in a new tag."""
    key = f"{PREFIX}{AUDIT}{done.when.replace(':', '').replace('+0000', 'Z')}"
    for number in filter(None, (done.number, also)):
        registry.client.set_model_version_tag(model, number, key, json.dumps(vars(done)))


def history(registry: Registry, model: str, number: str = "") -> list[Event]:
    """The events of a model, or of one version of it; oldest first.

    A tag that cannot be read is left out, with a warning in the log.
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
    """Who rolled a version back and why, if that is its latest event; else ''."""
    moves = [e for e in history(registry, found.model, found.number) if e.what != "refused"]
    if moves and moves[-1].what == "rolled back" and moves[-1].number != found.number:
        return f"version {found.number} was rolled back by {moves[-1].who}: {moves[-1].why}"
    return ""


def facts_of(text: str) -> Any:
    """The JSON of a tag; raises ValueError if the text is not JSON."""
    return parse_json(text, "it", limits.TAG_TEXT)


def tell(registry: Registry, whose: object, key: str, error: Exception, done: str) -> None:
    """Log a warning about a damaged tag; `done` says what was done about it."""
    text = (
        f"the tag {key} of {whose} at {without_password(registry.uri)} is damaged: {error}; "
        f"{done}. Look at it on the page of {whose} in MLflow, and mend or delete it there"
    )
    _log.warning("%s", presentable(text))
