"""What the parts of `gpu.py` share: the size of the work, the model, the pictures, the clock."""

import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

NAME = "vit_base_patch32_clip_quickgelu_224"
Figures = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How large the work is; by default as in the paper."""

    models: int = 72
    heldout: int = 26_000
    pixels: int = 224
    classes: int = 1000
    train_batch: int = 512
    train_steps: int = 60
    learned_batch: int = 256
    mehl_batch: int = 128
    together: int = 18
    epochs: int = 5
    average: int = 8
    model: tuple[tuple[str, int], ...] = ()


TENTH = Size(
    models=7, heldout=64, pixels=64, classes=100, train_batch=16, train_steps=3, learned_batch=32,
    mehl_batch=16, together=3, epochs=1, average=3,
    model=(("img_size", 64), ("embed_dim", 96), ("depth", 2), ("num_heads", 2)),
)  # fmt: skip


class OutOfTime(Exception):
    """A part did not end in its time."""


class Timed:
    """A judge or objective that counts its calls, and ends when the time of its part is over."""

    def __init__(self, inner: Any, until: float) -> None:
        self._inner, self._until, self.calls = inner, until, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, *arguments: Any) -> Any:
        if time.perf_counter() > self._until:
            raise OutOfTime
        self.calls += 1
        return self._inner(*arguments)


class Bench:
    """The card, the model and the pictures that all parts share."""

    def __init__(self, device: torch.device, size: Size, seed: int = 0) -> None:
        import timm

        torch.manual_seed(seed)
        self.device, self.size = device, size
        self.half = torch.bfloat16 if device.type == "cuda" else None
        kwargs = {"num_classes": size.classes, **dict(size.model)}
        self.model: Any = timm.create_model(NAME, pretrained=False, **kwargs).to(device)
        self.inputs = torch.empty(
            (size.heldout, 3, size.pixels, size.pixels), dtype=torch.uint8, device=device
        ).random_(0, 256)
        self.start = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        with torch.inference_mode():
            answers = torch.cat([self.passed(part).argmax(1) for part in self.inputs.split(256)])
        # A quarter of the labels are not the model's answers, as with the paper's fine-tunes.
        self.labels = torch.where(
            torch.rand(size.heldout, device=device) < 0.75,
            answers.clone(),
            torch.randint(size.classes, (size.heldout,), device=device),
        )
        self.parameters = sum(tensor.numel() for tensor in self.start.values())

    def scaled(self, pixels: Tensor) -> Tensor:
        """Pictures as the model takes them."""
        return pixels.float().sub_(127.5).div_(63.75)

    def passed(self, pixels: Tensor) -> Tensor:
        """The model's logits, in the precision of the card."""
        with torch.autocast(self.device.type, self.half, enabled=self.half is not None):
            logits: Tensor = self.model(self.scaled(pixels))
        return logits.float()

    def ingredients(self) -> list[Any]:
        """Random fine-tunes around the start, the best first."""
        from soup.recipes.ingredient import Ingredient

        dtype, count = self._fitting()
        made = []
        for index in range(count):
            weights = {
                name: torch.randn_like(tensor)
                .mul_(0.05 * tensor.std(unbiased=False) * (1 + index / count))
                .add_(tensor)
                .to(dtype)
                for name, tensor in self.start.items()
            }
            made.append(Ingredient(f"model {index}", weights, index + self.size.heldout / 4))
        return made

    def _fitting(self) -> tuple[torch.dtype, int]:
        if self.device.type != "cuda":
            return torch.float32, self.size.models
        torch.cuda.empty_cache()
        room = 0.85 * torch.cuda.mem_get_info(self.device)[0] / 2 - 4e9
        for dtype in (torch.float32, torch.bfloat16):
            if self.size.models * self.parameters * dtype.itemsize <= room:
                return dtype, self.size.models
        return torch.bfloat16, max(2, int(room / (2 * self.parameters)))

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def peak_memory(self) -> float:
        """The most memory that was held since the last call, in GB."""
        if self.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self.device) / 1e9
            torch.cuda.reset_peak_memory_stats(self.device)
            return peak
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6

    def operations(self) -> float:
        """Floating-point operations of a forward pass of one picture."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self.model(self.scaled(self.inputs[:1]))
        return float(counter.get_total_flops())

    def products(self) -> float:
        """Operations a second of a large product of matrices, the peak that can be reached."""
        side = 8192 if self.device.type == "cuda" else 256
        a = torch.randn(side, side, device=self.device, dtype=self.half)
        for _ in range(3):
            a @ a
        self.wait()
        start = time.perf_counter()
        for _ in range(20):
            a @ a
        self.wait()
        return 20 * 2 * side**3 / (time.perf_counter() - start)


def judge_of(bench: Bench) -> Any:
    from soup.evaluation.judges import ErrorJudge

    class Half(nn.Module):
        """The model in the precision of the card, under the names of its own tensors."""

        def forward(self, pixels: Tensor) -> Tensor:
            return bench.passed(pixels)

        def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
            return iter(bench.model.parameters(recurse))

    def load(_: nn.Module, weights: Any) -> None:
        bench.model.load_state_dict(dict(weights))

    return ErrorJudge(Half(), bench.inputs, bench.labels, load=load)


def objective_of(bench: Bench, batch: int) -> Any:
    from soup.evaluation.heldout_loss import HeldoutLoss

    return HeldoutLoss(
        bench.model, bench.inputs, bench.labels, prepare=bench.scaled, checked=0.0,
        batch_size=batch, autocast=bench.half,
    )  # fmt: skip


def timed(
    bench: Bench, work: Callable[[], object], calls: Timed, expected: int, ingredients: list[Any]
) -> Figures:
    """Seconds of a recipe, and which share of its passes was done where its time was too short."""
    bench.wait()
    start = time.perf_counter()
    try:
        work()
        share = 1.0
    except OutOfTime:
        share = calls.calls / expected
    bench.wait()
    return {
        "seconds": time.perf_counter() - start,
        "share_done": share,
        "models": len(ingredients),
        "dtype": str(ingredients[0].weights[next(iter(bench.start))].dtype).removeprefix("torch."),
    }
