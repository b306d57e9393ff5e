"""Tokens of texts: the cache, batches of similar length, and how they are filled up."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soup.data.errors import DataError
from soup.data.examples import examples
from soup.data.loading.image_store import ImageStore
from soup.data.split.manifest import Row
from soup.data.text.examples import BUDGET, TextExamples, as_text_examples, trimmed
from soup.data.text.texts import Text, address
from soup.data.text.tokens import tokens_of
from soup.models.text_input import TokenizerError, require_vocabulary, text_input
from tests.text_worlds import WORDS, tokenizer

TOKENIZER = tokenizer().to_str()
LISTS = st.lists(st.integers(1, 12), min_size=1, max_size=30)
CPU = torch.device("cpu")


def of_lengths(lengths: list[int]) -> TextExamples:
    """Texts of so many tokens, the ids of which count up from 1 over all texts."""
    starts = np.cumsum([0, *lengths])

    def encode(texts: list[Text]) -> list[tuple[list[int], list[int], int]]:
        told = [int(text.text) for text in texts]
        ids = [[*range(1 + starts[i], 1 + starts[i] + lengths[i])] for i in told]
        return [(of_text, [0] * len(of_text), len(of_text)) for of_text in ids]

    texts = [Text(str(index)) for index in range(len(lengths))]
    return as_text_examples(texts, (encode, "name", 0))  # type: ignore[arg-type]


@given(lengths=LISTS, size=st.integers(1, 8), seed=st.integers(0, 99))
def test_batches_hold_each_text_once_whole_and_within_the_budget(
    lengths: list[int], size: int, seed: int
) -> None:
    made = of_lengths(lengths)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(lengths))[: rng.integers(1, len(lengths) + 1)]
    groups = made.groups(chosen, size)
    assert sorted(np.concatenate(groups)) == sorted(chosen)
    for group, batch in zip(groups, made.batches(chosen, size, CPU), strict=True):
        longest = max(lengths[i] for i in group)
        assert batch.shape == (len(group), 2, longest)
        assert len(group) <= size
        assert len(group) == 1 or len(group) * longest <= BUDGET * size
        for index, (ids, types) in zip(group, batch.tolist(), strict=True):
            first = 1 + sum(lengths[:index])
            wanted = [*range(first, first + lengths[index])]
            assert ids == wanted + [0] * (longest - len(wanted))
            assert types == [1] * len(wanted) + [0] * (longest - len(wanted))


@given(lengths=LISTS, size=st.integers(1, 8))
def test_a_part_of_the_batches_is_batched_as_they_were(lengths: list[int], size: int) -> None:
    """So that ranks that share a prediction give the logits of a single device."""
    made = of_lengths(lengths)
    groups = made.groups(np.arange(len(lengths)), size)
    for start in range(len(groups)):
        again = made.groups(np.concatenate(groups[start:]), size)
        assert [g.tolist() for g in again] == [g.tolist() for g in groups[start:]]


@given(lengths=LISTS)
def test_the_compact_form_cut_to_a_batch_is_the_models_input(lengths: list[int]) -> None:
    made = of_lengths(lengths)
    compact = made.compact(np.arange(len(lengths)))
    for group, batch in zip(
        made.groups(np.arange(len(lengths)), 3),
        made.batches(np.arange(len(lengths)), 3, CPU),
        strict=True,
    ):
        assert torch.equal(made.prepare(compact[torch.from_numpy(group)]), batch)


def test_a_pair_is_told_apart_and_cut_where_the_longer_text_is_longer() -> None:
    inputs = text_input(TOKENIZER, 8, 0)
    ids, types, uncut = inputs.encode([("the cat likes the dog very much", "a fox")])[0]
    words = [WORDS[i] for i in ids]
    assert words == ["[CLS]", "the", "cat", "likes", "[SEP]", "a", "fox", "[SEP]"]
    assert list(types) == [0, 0, 0, 0, 0, 1, 1, 1]
    assert uncut == 12
    made = tokens_of([Text("the cat"), Text("the cat " * 6)], inputs.encode)
    assert made.lengths.tolist() == [4, 8]
    told = "1 of 2 texts are cut to the 8 tokens that the model takes (base.max_length)"
    assert made.cut == f"{told}; the longest has 14"
    assert not tokens_of([Text("the cat")], inputs.encode).cut


def test_padding_and_cutting_of_the_tokenizers_own_file_are_not_used() -> None:
    other = tokenizer()
    other.enable_padding(length=20)
    other.enable_truncation(3)
    assert len(text_input(other.to_str(), 10, 0).encode([("the cat", None)])[0].ids) == 4


def test_another_tokenizer_or_length_has_another_name() -> None:
    names = {
        text_input(TOKENIZER, 8, 0).name,
        text_input(TOKENIZER, 9, 0).name,
        text_input(TOKENIZER, 8, 1).name,
        text_input(TOKENIZER.replace("owl", "owk"), 8, 0).name,
    }
    assert len(names) == 4


def test_a_tokenizer_of_another_vocabulary_is_refused_with_both_sizes() -> None:
    require_vocabulary(TOKENIZER, len(WORDS), "tiny")
    require_vocabulary(TOKENIZER, len(WORDS) + 100, "tiny")  # models round up
    for rows in (len(WORDS) - 1, len(WORDS) + 5000):
        with pytest.raises(TokenizerError, match=rf"{len(WORDS)} tokens.*vocabulary {rows:,}"):
            require_vocabulary(TOKENIZER, rows, "tiny")
    with pytest.raises(TokenizerError, match="is no tokenizer"):
        text_input("{}", 8, 0)


def rows_of(root: Path, texts: list[str]) -> list[Row]:
    (root / "a.tsv").write_text("text\n" + "".join(f"{text}\n" for text in texts))
    return [
        Row(address("a.tsv", ["text"], n), "no", "train", Text(text).content)
        for n, text in enumerate(texts, 1)
    ]


def test_texts_are_tokenised_once_and_then_mapped_from_the_cache(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, ["the cat", "a dog likes the owl"])
    store, inputs = ImageStore(tmp_path, tmp_path / "cache", 1), text_input(TOKENIZER, 16, 0)
    first = examples(store, rows, ["no", "yes"], inputs)
    assert isinstance(first, TextExamples)
    made = first.compact(np.arange(2))
    (tmp_path / "a.tsv").unlink()  # not needed any more
    again = examples(store, rows, ["no", "yes"], inputs)
    assert isinstance(again, TextExamples)
    assert torch.equal(again.compact(np.arange(2)), made)
    assert isinstance(again.tokens.flat, np.memmap)
    other = examples(store, rows, ["no", "yes"], text_input(TOKENIZER, 15, 0))
    assert other.digest != first.digest
    with pytest.raises(DataError, match=r"a\.tsv cannot be read"):
        other.compact(np.arange(2))


def test_texts_that_are_cut_are_counted_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = rows_of(tmp_path, ["the cat", "a dog likes the owl today and then"])
    store = ImageStore(tmp_path, tmp_path / "cache", 1)
    for _ in range(2):
        made = examples(store, rows, ["no", "yes"], text_input(TOKENIZER, 6, 0))
        assert isinstance(made, TextExamples)
        assert made.tokens.cut.startswith("1 of 2 texts")
    told = (
        "1 of 2 texts are cut to the 6 tokens that the model takes (base.max_length); the longest"
    )
    assert [record.message for record in caplog.records] == [f"{told} has 10"]


def test_a_cache_without_room_is_done_without(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, ["the cat", "a dog"])
    store = ImageStore(tmp_path, tmp_path / "cache", 1e-9)
    made = examples(store, rows, ["no", "yes"], text_input(TOKENIZER, 16, 0))
    assert made.compact(np.arange(2)).shape == (2, 2, 4)


def test_labels_that_the_model_does_not_know_are_told(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, ["the cat"])
    with pytest.raises(DataError, match="labels that the model does not know: no"):
        examples(
            ImageStore(tmp_path, tmp_path, 1), rows, ["yes", "well"], text_input(TOKENIZER, 16, 0)
        )


def test_nothing_is_trimmed_to_nothing() -> None:
    assert trimmed(torch.zeros(0, 2, 5, dtype=torch.int32)).shape == (0, 2, 1)
