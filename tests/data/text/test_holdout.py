"""The held-out texts, by properties and against the definition of a group."""

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soup.config.data import HeldOut
from soup.data.errors import DataError
from soup.data.text.holdout import by_content, groups
from soup.data.text.listing import Labelled
from soup.data.text.texts import Text, address

WORDS = st.sampled_from([f"sentence {number}" for number in range(60)])
PAIRS = st.lists(st.tuples(WORDS, st.none() | WORDS, st.sampled_from("ab")), max_size=60)


def labelled(rows: list[tuple[str, str | None, str]]) -> list[Labelled]:
    return [
        Labelled(address("a.tsv", ["text"], number), Text(text, pair), label)
        for number, (text, pair, label) in enumerate(rows, 1)
    ]


def said(examples: list[Labelled], chosen: set[int]) -> set[str]:
    return {s for index in chosen for s in examples[index].text.sentences}


@given(PAIRS)
def test_groups_are_the_connected_parts(rows: list[tuple[str, str | None, str]]) -> None:
    examples = labelled(rows)
    found = groups(examples)
    assert sorted(index for group in found for index in group) == [*range(len(rows))]
    for a, b in combinations(found, 2):
        assert said(examples, {*a}).isdisjoint(said(examples, {*b}))
    for group in found:  # no group falls apart: grown from one member, it is whole
        grown = {group[0]}
        for _ in group:
            near = said(examples, grown)
            grown |= {i for i in group if not near.isdisjoint(examples[i].text.sentences)}
        assert grown == {*group}


@given(PAIRS, st.randoms())
def test_no_sentence_is_on_both_sides_and_the_order_does_not_matter(
    rows: list[tuple[str, str | None, str]], random: object
) -> None:
    examples = labelled(rows)
    how = HeldOut(fraction=0.2)
    try:
        held = by_content(examples, how)
    except DataError:
        return
    everything = {*range(len(rows))}
    assert said(examples, held).isdisjoint(said(examples, everything - held))
    total, out = Counter(e.label for e in examples), Counter(examples[i].label for i in held)
    for label, count in total.items():
        assert 0 < out[label] <= max(1, round(0.2 * count)) < count
    shuffled = examples.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = by_content(shuffled, how)
    assert said(shuffled, again) == said(examples, held)


def test_case_space_and_composition_of_a_sentence_do_not_count() -> None:
    a, b = Text("Caf\u00e9  au lait"), Text(" cafe\u0301 AU lait ")
    assert a.sentences == b.sentences
    assert a.content != b.content


def test_one_more_text_moves_no_other() -> None:
    rows = [(f"text {number}", None, "ab"[number % 2]) for number in range(40)]
    before = said(labelled(rows), by_content(labelled(rows), HeldOut(per_class=5)))
    more = labelled([*rows, ("another", None, "a")])
    after = said(more, by_content(more, HeldOut(per_class=5)))
    assert len(before - after) <= 1
    assert len(before) == len(after) == 10


def test_texts_that_all_share_a_sentence_are_told_with_it() -> None:
    rows = [(f"text {number}", "The same question?", "ab"[number % 2]) for number in range(20)]
    with pytest.raises(DataError, match=r"20 of 20 texts.*'the same question\?' \(20 times\)"):
        by_content(labelled(rows), HeldOut(fraction=0.2))


def test_too_few_texts_are_told_by_class() -> None:
    rows = [("one", None, "rare"), *((f"text {n}", None, "usual") for n in range(9))]
    with pytest.raises(DataError, match=r"2 a class.*rare \(1\)"):
        by_content(labelled(rows), HeldOut(per_class=2))


def test_numbers_to_be_predicted_are_one_class() -> None:
    rows = [(f"text {number}", None, f"{number / 7:.3f}") for number in range(50)]
    assert len(by_content(labelled(rows), HeldOut(fraction=0.2), classes=False)) == 10
