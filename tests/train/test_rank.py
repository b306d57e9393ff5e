"""Shares of a batch, and agreement."""

import pytest

from soup.train.process_group import Unshareable, joined, with_weight
from soup.train.rank import ALONE, Rank


@pytest.mark.parametrize(("count", "world"), [(10, 1), (10, 2), (7, 2), (5, 4), (4, 4)])
def test_stretches_cover_all_once_and_differ_by_one_at_most(count: int, world: int) -> None:
    stretches = [Rank(rank, world).of(count) for rank in range(world)]
    assert [index for each in stretches for index in each] == [*range(count)]
    sizes = {len(each) for each in stretches}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("count", "world"), [(10, 2), (7, 2), (5, 4)])
def test_weights_make_the_mean_over_ranks_that_over_the_batch(count: int, world: int) -> None:
    losses = [float(index**2) for index in range(count)]
    scaled = []
    for rank in range(world):
        share = with_weight(Rank(rank, world), count)
        own = [losses[index] for index in share.of(count)]
        scaled.append(share.weight * sum(own) / len(own))
    assert sum(scaled) / world == pytest.approx(sum(losses) / count)


def test_a_batch_smaller_than_the_ranks_is_refused() -> None:
    with pytest.raises(Unshareable, match=r"3 images has none for some of 4 ranks; raise sweep"):
        with_weight(Rank(0, 4), 3)


def test_one_alone_asks_nobody() -> None:
    assert ALONE.first
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert ALONE.broadcast(7) == 7


def test_ranks_without_torchruns_variables_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    expected = "RANK, WORLD_SIZE, .* not set: start it by torchrun --nproc-per-node 2"
    with pytest.raises(Unshareable, match=expected), joined(("cpu", "cpu")):
        pass


def test_more_ranks_than_the_job_has_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    place = {"RANK": "2", "WORLD_SIZE": "3", "LOCAL_RANK": "2", "MASTER_ADDR": "x"}
    for name, value in {**place, "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    expected = r"local rank 2 has no device: the job names 2 .*--nproc-per-node 2"
    with pytest.raises(Unshareable, match=expected), joined(("cuda:0", "cuda:1")):
        pass
