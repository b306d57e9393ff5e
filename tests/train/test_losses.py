"""The loss against its formula."""

import pytest
import torch
from torch import Tensor, nn

from soup.train.losses import cross_entropy, mixing


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_smoothing_spreads_its_share_of_the_target_over_all_classes(smoothing: float) -> None:
    torch.manual_seed(0)
    model, images, labels = nn.Linear(6, 4), torch.randn(5, 6), torch.tensor([0, 3, 1, 1, 2])
    logs = model(images).log_softmax(dim=1)
    picked = logs[torch.arange(5), labels]
    expected = -((1 - smoothing) * picked + smoothing * logs.mean(dim=1)).mean()
    torch.testing.assert_close(cross_entropy(smoothing)(model, images, labels), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_mixup_mixes_targets_as_it_mixes_images(smoothing: float) -> None:
    classes, shares = 4, []
    labels = torch.tensor([0, 3, 1, 2])
    images = torch.eye(4).reshape(4, 1, 2, 2)  # what each image holds of each original
    weight = torch.randn(4, classes)
    for seed in range(5):
        seen: list[Tensor] = []

        class Seeing(nn.Module):
            def forward(self, mixed: Tensor, seen: list[Tensor] = seen) -> Tensor:
                seen.append(mixed.flatten(1))
                return mixed.flatten(1) @ weight

        torch.manual_seed(seed)
        mixed = mixing(classes, mixup=0.4)(images, labels)
        value = cross_entropy(smoothing)(Seeing(), *mixed)
        (holds,) = seen
        torch.testing.assert_close(holds.sum(dim=1), torch.ones(4))
        targets = holds @ torch.eye(classes)[labels]
        targets = (1 - smoothing) * targets + smoothing / classes
        expected = -(targets * (holds @ weight).log_softmax(dim=1)).sum(dim=1).mean()
        torch.testing.assert_close(value, expected)
        shares.append(float(holds.max()))
    assert len(set(shares)) == 5


def test_without_alphas_images_are_left_as_they_are() -> None:
    images, labels = torch.randn(3, 2), torch.tensor([0, 1, 0])
    mixed, same = mixing(2)(images, labels)
    assert mixed is images
    assert same is labels


def test_cutmix_mixes_labels_by_the_area_that_it_pastes() -> None:
    labels = torch.tensor([0, 1, 2, 3])
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 16, 16).contiguous()
    torch.manual_seed(1)
    mixed, targets = mixing(4, cutmix=1.0)(images, labels)
    assert set(mixed.unique().tolist()) == {0.0, 1.0, 2.0, 3.0}  # pasted, not blended
    for index in range(4):
        share = float((mixed[index] == index).float().mean())
        assert 0 < share < 1
        assert float(targets[index, index]) == pytest.approx(share)
        assert float(targets[index].sum()) == pytest.approx(1)


def test_with_both_each_batch_is_mixed_in_one_of_the_two_ways() -> None:
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 8, 8).contiguous()
    mix, pasted = mixing(4, mixup=1.0, cutmix=1.0), []
    for seed in range(40):
        torch.manual_seed(seed)
        mixed, _ = mix(images, torch.arange(4))
        pasted.append(bool((mixed == mixed.round()).all()))
    assert 10 <= sum(pasted) <= 30
