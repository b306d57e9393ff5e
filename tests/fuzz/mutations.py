"""Damaged inputs: valid ones, changed in a few places.

Noise is refused at its first byte. What finds faults is an input that is valid but for one type,
one length or one key.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

# Values that stand for a type, a limit or a habit of a format. '@...' is text that JSON cannot say.
HOSTILE: list[Any] = [
    *(None, True, False, 0, 1, -1, 1.5, -0.0, 2**31, 2**63, 2**64, -(2**63), 10**40, 1e308),
    *("", " ", "a", "0", "-1", "1e400", "nan", "None", "\0", "a\0b", "\ud800", "\U0001f600"),
    *(
        "../up",
        "/etc/hostname",
        "a/b",
        ".",
        "..",
        "~",
        "a\nb",
        "\x1b[31m",
        "x" * 3000,
        "é",
        "e\u0301",
    ),
    *([], {}, [[]], [None], [1, "a"], {"": {}}, {"a": None}, [0] * 70, ["x", "x"]),
    *("@deep 70", "@deep 5000", "@tables 3000", "@digits 30", "@digits 5000", "@NaN", "@-Infinity"),
]
BYTES = [
    b"\0",
    b"9" * 5000,
    b"\xff",
    b"\x7f",
    b"\n",
    b'"',
    b"{",
    b"[",
    b",",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\0" * 8,
]
BYTES += [(2**n - k).to_bytes(8, "little") for n in (8, 16, 31, 32, 63, 64) for k in (1, 2)]
BYTES += [(2**n - 1).to_bytes(4, "big") for n in (8, 15, 16, 31, 32)]
Edit = tuple[str, int, Any]

TREE = ("put", "put", "put", "delete", "wrap", "text", "key", "repeat", "swap")
Make = Callable[[Random], bytes]


def damaged(*valid: bytes) -> Make:
    """Some valid inputs, with bytes changed, added and left out."""
    return lambda rng: damage(rng, rng.choice(valid))


def texts(*valid: Any, dump: Callable[[Any], str] = json.dumps) -> Make:
    """JSON (or what `dump` writes) of changed trees, its text damaged too in some of the cases."""

    def make(rng: Random) -> bytes:
        text = as_text(change(rng, rng.choice(valid)), dump)
        match rng.choice(("whole", "whole", "whole", "bytes", "twice")):
            case "bytes":
                return damage(rng, text, most=2)
            case "twice":
                return text.replace(b'{"', b'{"a": 1, "a": 2, "', 1)
        return text

    return make


def damage(rng: Random, valid: bytes, most: int = 4) -> bytes:
    """An input with up to so many edits of its bytes; now and then with none."""
    content = bytearray(valid)
    for _ in range(rng.randint(0, most)):
        piece = rng.choice(BYTES) if rng.random() < 0.5 else rng.randbytes(rng.randint(1, 8))
        at = rng.randint(0, len(content))
        match rng.choice(("put", "put", "insert", "delete", "repeat", "cut", "flip")):
            case "put":
                content[at : at + len(piece)] = piece
            case "insert":
                content[at:at] = piece
            case "delete":
                del content[at : at + len(piece) * 5]
            case "repeat":
                content[at:at] = content[at : at + 40]
            case "cut":
                del content[at:]
            case "flip" if at < len(content):
                content[at] ^= 1 << rng.randrange(8)
    return bytes(content)


def change(rng: Random, valid: Any, most: int = 3) -> Any:
    """A tree of JSON with up to so many values, keys and types changed; now and then with none."""
    tree = deepcopy(valid)
    for _ in range(rng.randint(0, most)):
        tree = _changed(tree, (rng.choice(TREE), rng.randrange(1 << 16), rng.choice(HOSTILE)))
    return tree


def as_text(tree: Any, dump: Callable[[Any], str] = json.dumps) -> bytes:
    """The text of a tree, with what '@...' stands for."""
    text = dump(tree)
    for number in (70, 5000):
        text = text.replace(f'"@deep {number}"', "[" * number + "]" * number)
    text = text.replace('"@tables 3000"', '{"a":' * 3000 + "1" + "}" * 3000)
    for number in (30, 5000):
        text = text.replace(f'"@digits {number}"', "9" * number)
    text = text.replace('"@NaN"', "NaN").replace('"@-Infinity"', "-Infinity")
    return text.encode("utf-8", "surrogatepass")


def _changed(tree: Any, edit: Edit) -> Any:
    kind, place, value = edit
    spots = [*_spots(tree)]
    if not spots:
        return deepcopy(value)
    holder, key = spots[place % len(spots)]
    present = holder[key]
    if kind == "put":
        holder[key] = deepcopy(value)
    elif kind == "delete":
        del holder[key]
    elif kind == "wrap":
        holder[key] = [present]
    elif kind == "text":
        holder[key] = str(present)[:200]
    elif kind == "swap":
        other, at = spots[(place * 7 + 1) % len(spots)]
        if at in other if isinstance(other, dict) else at < len(other):
            holder[key] = deepcopy(other[at])
    elif isinstance(holder, list):
        holder.append(deepcopy(present))
    else:
        name = str(value)[:3000] if kind == "key" else f"{key}."
        holder[name] = holder.pop(key) if kind == "key" else deepcopy(present)
    return tree


def _spots(tree: Any) -> list[tuple[Any, Any]]:
    """Every place in a tree that holds a value: its holder, and the key or index in it."""
    spots: list[tuple[Any, Any]] = []
    waiting = [tree] if isinstance(tree, dict | list) else []
    while waiting:
        holder = waiting.pop()
        pairs = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for key, value in pairs:
            spots.append((holder, key))
            if isinstance(value, dict | list):
                waiting.append(value)
    return spots
