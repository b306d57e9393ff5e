"""The loss against its formula."""

import pytest
import torch
from torch import Tensor, nn

from soup.train.losses import classification


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_smoothing_spreads_its_share_of_the_target_over_all_classes(smoothing: float) -> None:
    torch.manual_seed(0)
    model, images, labels = nn.Linear(6, 4), torch.randn(5, 6), torch.tensor([0, 3, 1, 1, 2])
    logs = model(images).log_softmax(dim=1)
    picked = logs[torch.arange(5), labels]
    expected = -((1 - smoothing) * picked + smoothing * logs.mean(dim=1)).mean()
    torch.testing.assert_close(classification(4, smoothing)(model, images, labels), expected)


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
        value = classification(classes, smoothing, mixup=0.4)(Seeing(), images, labels)
        (holds,) = seen
        torch.testing.assert_close(holds.sum(dim=1), torch.ones(4))
        targets = holds @ torch.eye(classes)[labels]
        targets = (1 - smoothing) * targets + smoothing / classes
        expected = -(targets * (holds @ weight).log_softmax(dim=1)).sum(dim=1).mean()
        torch.testing.assert_close(value, expected)
        shares.append(float(holds.max()))
    assert len(set(shares)) == 5


def test_without_mixup_images_are_left_as_they_are() -> None:
    images = torch.randn(3, 2)

    class Same(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            assert given is images
            return given

    classification(2)(Same(), images, torch.tensor([0, 1, 0]))
