"""One step of training: compute the gradient of a batch, in parts if need be, and apply it.

Sharpness-aware minimisation is that of Foret et al., ICLR 2021, algorithm 1: the gradient is taken
at w + rho g / |g|, the worst point of the neighbourhood to first order, and applied at w.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from soup.train.optimizer import StepConfig
from soup.train.rank import ALONE, Rank

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
# Steps after which nothing new is allocated: the optimiser makes its state at the end of the first.
PROVEN = 2


@dataclass(eq=False)
class Step:
    """Takes steps with one model and optimiser.

    When a batch does not fit in the device's memory, the number of parts is doubled for the rest of
    the run; this happens once at most, and `say` reports it. With several ranks, a rank out of
    memory must not leave the others waiting for its gradients. The first steps therefore compute
    gradients without communication, agree that all ranks succeeded, and then average the gradients;
    later steps average them during the backward pass.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Loss
    method: StepConfig
    say: Callable[[str], None] = lambda _: None
    ranks: Rank = ALONE

    def __post_init__(self) -> None:
        self._proven = 0
        self._parts = self.method.accumulate
        self._halved = False
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take a step on a batch, or on this rank's part of one.

        Returns:
            The mean loss before the step, a scalar on the device; its mean over ranks is that of
            the whole batch.

        Raises:
            torch.OutOfMemoryError: the batch does not fit, though it was halved once.
        """
        # Dropout and drop path draw in the passes, and every attempt has to draw the same.
        state = _random_state(images.device)
        value = self._gradient(images, labels, state)
        if self.method.sam > 0:
            self._sharpness(images, labels, state)
        if self.method.clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, self.method.clip)
        self.optimizer.step()
        self._proven += 1
        return value

    def _gradient(self, images: Tensor, labels: Tensor, state: list[Tensor]) -> Tensor:
        """Write the gradient of the batch's mean loss to the parameters, and return the loss."""
        ranks = self.ranks
        careful = ranks.world > 1 and ranks.parts and self._proven < PROVEN
        while True:
            short: torch.OutOfMemoryError | None = None
            try:
                value = self._passes(images, labels, apart=careful)
            except torch.OutOfMemoryError as error:
                if ranks.world > 1 and not careful:
                    raise
                short = error.with_traceback(None)  # which would hold what did not fit
            if not (ranks.any(short is not None) if careful else short):
                break
            if ranks.any(self._halved or self._parts * 2 > len(images)):
                raise short or torch.OutOfMemoryError("another rank is out of memory")
            self._halve(len(images))
            _set_random_state(images.device, state)
        if careful:
            ranks.average([p.grad for p in self._parameters if p.grad is not None])
        return value

    def _halve(self, examples: int) -> None:
        self._halved, self._parts, self._proven = True, self._parts * 2, 0
        torch.cuda.empty_cache()
        self.say(
            f"out of memory: a batch of {examples} is now computed in {self._parts} parts of "
            f"{-(-examples // self._parts)}, with the same result but for batch statistics; "
            f"set sweep.accumulate: {self._parts} to begin so"
        )

    def _passes(self, images: Tensor, labels: Tensor, apart: bool) -> Tensor:
        """Compute gradients and return the loss; ranks average gradients unless `apart`."""
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=images.device)
        parts = [*zip(images.chunk(self._parts), labels.chunk(self._parts), strict=True)]
        for index, (part_images, part_labels) in enumerate(parts):
            # Ranks exchange gradients once a batch, with its last part.
            last = index == len(parts) - 1
            with nullcontext() if last and not apart else self.ranks.no_sync():
                with self._autocast(images.device):
                    value = self.loss(self.model, part_images, part_labels)
                    value = value * (self.ranks.weight * len(part_images) / len(images))
                value.backward()
            total += value.detach().float()
        return total

    def _sharpness(self, images: Tensor, labels: Tensor, state: list[Tensor]) -> None:
        """Replace the gradient at the weights by that at the worst point within `sam` of them."""
        pairs = [(p.detach(), p.grad) for p in self._parameters if p.grad is not None]
        weights, slopes = [w for w, _ in pairs], [g for _, g in pairs]
        before = [w.clone() for w in weights]
        norm = torch.stack(torch._foreach_norm(slopes)).norm() + 1e-12
        torch._foreach_add_(weights, [*torch._foreach_mul(slopes, self.method.sam / norm)])
        try:
            _set_random_state(images.device, state)
            self._gradient(images, labels, state)
        finally:
            torch._foreach_copy_(weights, before)

    def _autocast(self, device: torch.device) -> AbstractContextManager[object]:
        if self.method.precision == "float32":
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)


def _random_state(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _set_random_state(device: torch.device, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
