"""Training batches of texts: a function of seed and epoch, of similar length, filled up little."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soup.errors import BadInput
from soup.train.rank import Rank
from soup.train.text_batches import order, tokens
from tests.data.text.test_tokens import of_lengths

CPU = torch.device("cpu")


@given(
    n=st.integers(1, 60), size=st.integers(1, 9), seed=st.integers(0, 9), epoch=st.integers(0, 3)
)
def test_an_epoch_shows_each_text_once_but_those_of_the_last_batch(
    n: int, size: int, seed: int, epoch: int
) -> None:
    lengths = np.random.default_rng(seed).integers(1, 20, size=n)
    size = min(size, n)
    batches = order(lengths, n // size, size, seed, epoch)
    assert [len(batch) for batch in batches] == [size] * (n // size)
    shown = np.concatenate(batches)
    assert len({*shown.tolist()}) == len(shown)
    again = order(lengths, n // size, size, seed, epoch)
    assert [b.tolist() for b in again] == [b.tolist() for b in batches]


def test_batches_differ_between_epochs_and_are_filled_up_little() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, size=4000)
    batches = order(lengths, 125, 32, 0, 0)
    filled = sum(len(b) * lengths[b].max() for b in batches) / sum(
        lengths[b].sum() for b in batches
    )
    assert filled < 1.05
    assert batches[0].tolist() != order(lengths, 125, 32, 0, 1)[0].tolist()
    longest = [lengths[b].max() for b in batches]
    assert longest != sorted(longest)  # not the short ones first


def test_a_run_that_goes_on_sees_the_batches_that_were_left() -> None:
    texts = of_lengths([3, 1, 4, 1, 5, 9, 2, 6, 5, 3])
    make = tokens(texts, 3, seed=1, device=CPU)
    whole, rest = [*make(2, 0)], [*make(2, 2)]
    assert len(whole) == 3
    assert len(rest) == 1
    assert torch.equal(whole[2][0], rest[0][0])


def test_the_parts_of_ranks_together_are_the_batch_of_one_device() -> None:
    texts = of_lengths([3, 1, 4, 1, 5, 9, 2, 6])
    alone = [*tokens(texts, 4, 0, CPU)(0, 0)]
    shared = [[*tokens(texts, 4, 0, CPU, Rank(rank, 3))(0, 0)] for rank in range(3)]
    for step, (inputs, labels) in enumerate(alone):
        assert torch.equal(torch.cat([of_rank[step][0] for of_rank in shared]), inputs)
        assert torch.equal(torch.cat([of_rank[step][1] for of_rank in shared]), labels)
    with pytest.raises(BadInput, match="a batch of 2 texts has none for some of 3"):
        tokens(of_lengths([1, 2]), 4, 0, CPU, Rank(0, 3))
