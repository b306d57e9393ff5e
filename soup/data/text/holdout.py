"""Choose the held-out texts of train by a hash, so that no sentence is in both parts.

Texts that share a sentence, such as the pairs of one premise, form a group. A group stays together;
otherwise a model would be selected on sentences that it was trained on.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from soup.config.data import HeldOut
from soup.data.errors import DataError
from soup.data.text.listing import Labelled
from soup.errors import some


def groups(examples: Sequence[Labelled]) -> list[list[int]]:
    """The positions of the examples of each group, in order.

    Two examples share a sentence if they have the same text (see `Text.sentences`). A group is a
    connected component of this relation.
    """
    parent = [*range(len(examples))]

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[str, int] = {}
    for index, example in enumerate(examples):
        for sentence in example.text.sentences:
            parent[root(index)] = root(first.setdefault(sentence, index))
    together: dict[int, list[int]] = {}
    for index in range(len(examples)):
        together.setdefault(root(index), []).append(index)
    return [*together.values()]


def by_content(examples: Sequence[Labelled], how: HeldOut, classes: bool = True) -> set[int]:
    """The positions of the held-out examples.

    Groups are taken in the order of the lowest hash of their sentences, which depends neither on
    the order of the file nor on its name. A group is skipped if it has more examples of a class
    than are still needed.

    Args:
        how: has the 'fraction' or number ('per_class') of each class.
        classes: whether the labels are classes; for regression, all examples count as one class.

    Raises:
        DataError: there are too few examples, or almost all are in one group.
    """
    label_of = [example.label if classes else "all" for example in examples]
    total = Counter(label_of)
    wanted = {
        label: how.per_class or max(1, round((how.fraction or 0) * count))
        for label, count in total.items()
    }
    held: set[int] = set()
    left = dict(wanted)
    together = groups(examples)
    for group in sorted(together, key=lambda group: _hash(examples[i] for i in group)):
        counts = Counter(label_of[index] for index in group)
        if all(left[label] >= count for label, count in counts.items()):
            held |= {*group}
            for label, count in counts.items():
                left[label] -= count
    short = [
        f"{label} ({total[label]})"
        for label in sorted(total)
        if left[label] == wanted[label] or wanted[label] >= total[label]
    ]
    if short:
        number = f"{how.per_class} a class" if how.per_class else f"a share of {how.fraction}"
        largest = max(together, key=len)
        shared = Counter(s for i in largest for s in examples[i].text.sentences).most_common(1)[0]
        why = (
            f"; {len(largest)} of {len(examples)} texts are connected by sentences that they "
            f"share, such as {shared[0][:60]!r} ({shared[1]} times), and stay together"
            if 2 * len(largest) > len(examples) and len(largest) > 1
            else ""
        )
        raise DataError(
            f"too few texts to hold out {number} and still train: {some(short, 20)}{why}; "
            "lower data.heldout, or name held-out texts of their own (data.heldout.folder)"
        )
    return held


def _hash(examples: Iterable[Labelled]) -> bytes:
    """The lowest hash of any sentence of a group."""
    return min(
        hashlib.sha256(sentence.encode()).digest()
        for example in examples
        for sentence in example.text.sentences
    )
