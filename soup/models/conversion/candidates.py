"""Finding the weights in a training checkpoint, which often holds several sets of them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from soup import limits
from soup.models.conversion.errors import FormatError
from soup.models.conversion.pickle_reader import Inert
from soup.weights.wrappers import unwrap

# Keys of the trained weights in training programs, in the order of preference. Lightning's
# WeightAveraging moves the weights to the first key, and stores the average as 'state_dict'.
RAW = [
    *("current_model_state", "state_dict", "model_state_dict", "model_state", "model", "module"),
    *("net", "network", "weights", "params", ""),
]
# Keys that hold tensors but no weights.
TRAINING = re.compile(r"optim|sched|scaler|^loops$|(^|_)rng|hyper_?param|hparams|^args$", re.I)
AVERAGED = re.compile(r"(?<![a-z])(ema|swa|averag|(mean_)?teacher)", re.I)
DEPTH = 5


@dataclass(frozen=True)
class Candidate:
    """A set of named tensors found in a file.

    Attributes:
        key: the keys that lead to the set, joined by dots; '' for the file itself.
        weights: tensor name -> tensor.
        averaged: whether the weights are an average over training steps (EMA, SWA).
        dropped: names of the entries that are no weights.
    """

    key: str
    weights: dict[str, Tensor]
    averaged: bool
    dropped: tuple[str, ...] = ()


def candidates(content: object) -> list[Candidate]:
    """Every set of weights in the content of a file, the more likely ones first.

    Raises:
        FormatError: there are no weights; the message says what there is.
    """
    moved = isinstance(content, Mapping) and "current_model_state" in content
    found, lists = [], []
    for path, node in _walk(content, (), set(), _Budget(limits.VALUES)):
        if isinstance(node, Mapping) and _is_state(node):
            candidate = _candidate(".".join(path), node, moved and path == ("state_dict",))
            found += _separated(candidate)
        elif isinstance(node, list) and AVERAGED.search(".".join(path)):
            lists.append((".".join(path), node))
    if not found:
        keys = [str(key) for key in content][:20] if isinstance(content, Mapping) else []
        there = f"only the keys {', '.join(keys)}" if keys else type(content).__name__
        numpy = isinstance(content, Mapping) and any(isinstance(v, Inert) for v in content.values())
        there += ", whose values are arrays of NumPy and not tensors" if numpy else ""
        raise FormatError(
            f"holds no weights, but {there}; import what the program saved of its state_dict()"
        )
    found.sort(key=_rank)
    # NeMo's EMA callback keeps its tensors without names, in the order of the state dict.
    for key, tensors in lists:
        for raw in [candidate for candidate in found if not candidate.averaged]:
            if [t.shape for t in tensors] == [t.shape for t in raw.weights.values()]:
                named = zip(raw.weights, tensors, strict=True)
                found.append(Candidate(key, {n: t.detach() for n, t in named}, averaged=True))
                break
    return found


def choose(found: Sequence[Candidate], ema: bool, key: str | None) -> Candidate:
    """The candidate with a key, or the likeliest candidate of trained or averaged weights.

    If there are averaged weights only, they are chosen whether or not `ema` asks for them.

    Args:
        found: the result of `candidates`.
        ema: whether averaged weights (EMA, SWA) are wanted.
        key: of the candidate, or of a part of one: "state_dict.model" is what the names that begin
            with "model." in "state_dict" name. None to choose by `ema`.

    Raises:
        FormatError: there is no such candidate; the message lists the keys of those there are.
    """
    if key is not None:
        pool = [c for c in found if c.key == key]
        pool = pool or [part for c in found if (part := _part(c, key)) is not None]
    else:
        pool = [c for c in found if c.averaged == ema] or ([] if ema else list(found))
    if not pool:
        wanted = "averaged weights (EMA, SWA)" if key is None else f"weights at {key!r}"
        listed = ", ".join(repr(candidate.key) for candidate in found)
        raise FormatError(f"holds no {wanted}; choose with key= from {listed}")
    return pool[0]


def _part(candidate: Candidate, key: str) -> Candidate | None:
    """The tensors of a candidate whose names begin with the rest of the key, without that rest."""
    outer = f"{candidate.key}." if candidate.key else ""
    prefix = f"{key.removeprefix(outer)}."
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in candidate.weights.items()
        if name.startswith(prefix)
    }
    if not weights or not key.startswith(outer):
        return None
    dropped = [name for name in candidate.weights if not name.startswith(prefix)]
    averaged = candidate.averaged or AVERAGED.search(key) is not None
    return Candidate(key, weights, averaged, (*candidate.dropped, *dropped))


class _Budget:
    """Counts entries: a few tables that hold each other often have more than memory has."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def spend(self, entries: int) -> None:
        self._left -= entries + 1
        if self._left < 0:
            raise FormatError(
                f"is refused: its tables and lists have more than {self._most:,} entries "
                "(limit VALUES in soup/limits.py); save the weights alone"
            )


def _walk(
    node: object, path: tuple[str, ...], seen: set[int], budget: "_Budget"
) -> Iterator[tuple[tuple[str, ...], Mapping[str, object] | list[Tensor]]]:
    """The mappings with string keys and the lists of tensors, without those under TRAINING keys.

    A list of other things, such as (state_dict, epoch), is walked by the positions in it.
    """
    if not isinstance(node, list | tuple | Mapping):
        return
    budget.spend(len(node))
    if isinstance(node, list | tuple) and any(isinstance(item, Mapping) for item in node):
        if id(node) in seen or len(path) == DEPTH:
            return
        seen.add(id(node))
        for position, item in enumerate(node):
            yield from _walk(item, (*path, str(position)), seen, budget)
    if isinstance(node, Mapping) and all(isinstance(key, str) for key in node):
        yield path, node
        if id(node) in seen or len(path) == DEPTH:  # a pickle may lead back to itself
            return
        seen.add(id(node))
        for key, value in node.items():
            if not TRAINING.search(key):
                yield from _walk(value, (*path, key), seen, budget)
    elif isinstance(node, list) and node and all(isinstance(item, Tensor) for item in node):
        yield path, node


def _is_state(node: Mapping[str, object]) -> bool:
    """Whether most values are tensors, and not all of them scalars (as in a table of scores)."""
    tensors = [value for value in node.values() if isinstance(value, Tensor)]
    return 2 * len(tensors) > len(node) and any(tensor.ndim for tensor in tensors)


def _candidate(key: str, node: Mapping[str, object], moved: bool) -> Candidate:
    counted = "n_averaged" in node  # torch.optim.swa_utils.AveragedModel
    weights = {
        name: value.detach()
        for name, value in node.items()
        if isinstance(value, Tensor) and name != "n_averaged"
    }
    return Candidate(
        key,
        weights,
        averaged=moved or counted or AVERAGED.search(key) is not None,
        dropped=tuple(name for name in node if name not in weights),
    )


def _separated(candidate: Candidate) -> list[Candidate]:
    """The trained and the averaged model, where one state dict holds both, as "net." and "ema."."""
    parts: dict[str, list[str]] = {}
    for name in candidate.weights:
        part, dot, rest = name.partition(".")
        if dot:
            parts.setdefault(part, []).append(rest)
    bare = {part: {*unwrap(names)[0].values()} for part, names in parts.items()}
    trained = {part: names for part, names in bare.items() if not AVERAGED.search(part)}
    averages = [
        p for p in bare if p not in trained and (bare[p] in trained.values() or not trained)
    ]
    if not averages:
        return [candidate]
    outer = f"{candidate.key}." if candidate.key else ""
    alone = averages + ([*trained] if len(trained) == 1 else [])
    separated = [found for name in alone if (found := _part(candidate, outer + name)) is not None]
    if len(trained) > 1:
        averaged = tuple(f"{name}." for name in averages)
        weights = {n: t for n, t in candidate.weights.items() if not n.startswith(averaged)}
        separated.append(replace(candidate, weights=weights))
    return separated


def _rank(candidate: Candidate) -> tuple[int, int, int]:
    last = candidate.key.rpartition(".")[2]
    preference = RAW.index(last) if last in RAW else len(RAW)
    size = sum(tensor.numel() for tensor in candidate.weights.values())
    return preference, candidate.key.count("."), -size
