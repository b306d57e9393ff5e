"""What a GPU does with the work of the paper: training, evaluation, soups; a line of JSON a figure.

    python benchmarks/gpu.py                  at most 8 minutes on one card
    python benchmarks/gpu.py --device cpu --tenth   the same code at a tenth of the size, in seconds

ViT-B/32 with the head of ImageNet (88 M parameters, the model that the paper fine-tunes of CLIP),
72 models, 26,000 held-out pictures, 5 epochs. Weights and pictures are random numbers, and
pictures are on the card, so that nothing is downloaded or decoded. Needs torch, timm, safetensors
and what modelsoup itself needs; what is missing is named in the line of the figure.

Each part has a share of the time that is left. One that does not end in it is stopped, and its line
says which share of its passes was done. Models are in float32 if the card holds them twice (once as
ingredients, once as the matrices of `learned`), else in bfloat16, else there are fewer.

Compared with published times (greedy and learned: the paper's code; MEHL-Soup+: its authors', on
a card of 24 GB): the number and size of models, of pictures and of steps are the same. The cards,
the decoding of photographs and the reading of files are not, and accuracy means nothing here.
"""

import argparse
import json
import time
from collections.abc import Callable

import torch
from gpu_bench import TENTH, Bench, Figures, OutOfTime, Size, Timed, judge_of, objective_of, timed
from torch import Tensor
from torch.nn import functional as F

# Dense bfloat16 operations a second by the makers' data sheets, in units of 1e12.
PEAKS = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "A10": 125, "L4": 121, "4090": 165}


def training(bench: Bench, until: float) -> Figures:
    """Images a second of our step, and of timm's pieces in a plain loop."""
    from timm.optim import create_optimizer_v2
    from timm.utils import dispatch_clip_grad

    from soup.train.losses import cross_entropy
    from soup.train.optimizer import StepConfig, make_optimizer
    from soup.train.step import Step

    size = bench.size
    images, labels = bench.inputs[: size.train_batch], bench.labels[: size.train_batch]

    def ours() -> Callable[[], object]:
        precision = "bfloat16" if bench.half else "float32"
        method = StepConfig(weight_decay=0.05, precision=precision)
        step = Step(bench.model, make_optimizer(bench.model, method, 1e-5), cross_entropy(), method)
        return lambda: step(bench.scaled(images), labels)

    def plain() -> Callable[[], object]:
        optimizer = create_optimizer_v2(bench.model, "adamw", lr=1e-5, weight_decay=0.05)

        def step() -> None:
            optimizer.zero_grad()
            F.cross_entropy(bench.passed(images), labels).backward()
            dispatch_clip_grad(bench.model.parameters(), 1.0)
            optimizer.step()

        return step

    rates: dict[str, float] = {}
    for turn in range(2):  # the first warms up
        for name, make in (("ours", ours), ("plain", plain)):
            bench.model.load_state_dict(bench.start)
            bench.model.train()
            step, done = make(), 0
            bench.wait()
            start = time.perf_counter()
            while done < (size.train_steps if turn else 3) and time.perf_counter() < until:
                step()
                done += 1
            bench.wait()
            rates[name] = done * len(labels) / (time.perf_counter() - start)
    bench.model.eval()
    bench.model.load_state_dict(bench.start)
    return {
        "images_per_second": rates["ours"],
        "timm_in_a_plain_loop": rates["plain"],
        "operations_per_second": 3 * bench.operations() * rates["ours"],
    }


def evaluation(bench: Bench, until: float) -> Figures:
    """Images a second of a judge's full pass, and of a plain loop."""
    judge, rates = Timed(judge_of(bench), until), {}
    for _ in range(2):  # the first warms up
        bench.wait()
        start = time.perf_counter()
        errors = judge(bench.start)
        rates["images_per_second"] = bench.size.heldout / (time.perf_counter() - start)
        start = time.perf_counter()
        wrong = 0
        with torch.inference_mode():
            for pixels, labels in zip(
                bench.inputs.split(256), bench.labels.split(256), strict=True
            ):
                wrong += int((bench.passed(pixels).argmax(1) != labels).sum())
        rates["plain_loop"] = bench.size.heldout / (time.perf_counter() - start)
    rate = rates["images_per_second"]
    return {
        **rates,
        "operations_per_second": bench.operations() * rate,
        "same_errors": errors == wrong,
    }


def greedy_soup(bench: Bench, until: float) -> Figures:
    """Seconds of a greedy soup of all models."""
    from soup.recipes.greedy import greedy

    ingredients = bench.ingredients()
    judge = Timed(judge_of(bench), until)
    return timed(
        bench, lambda: greedy(ingredients, judge), judge, len(ingredients) - 1, ingredients
    )


def learned_soup(bench: Bench, until: float) -> Figures:
    """Seconds of a learned soup with one share a tensor, as the published code learns it."""
    from soup.recipes.learned import learn

    size, ingredients = bench.size, bench.ingredients()
    objective = Timed(objective_of(bench, size.learned_batch), until)
    steps = size.epochs * -(-size.heldout // size.learned_batch)
    options = {"by": "tensor", "epochs": size.epochs, "memory": float("inf")}
    return timed(
        bench, lambda: learn(ingredients, objective, **options), objective, steps, ingredients
    )


def mehl_soup(bench: Bench, until: float) -> Figures:
    """Seconds of MEHL-Soup+ with the published settings."""
    from soup.recipes.mehl import descend

    size, ingredients = bench.size, bench.ingredients()
    objective = Timed(objective_of(bench, size.mehl_batch), until)
    pools = -(-len(ingredients) // size.together)
    steps = pools * size.epochs * -(-size.heldout // size.mehl_batch)
    options = {
        "m": size.together, "epochs": size.epochs, "batch": size.mehl_batch, "memory": float("inf"),
    }  # fmt: skip
    return timed(
        bench, lambda: descend(ingredients, objective, **options), objective, steps, ingredients
    )


def averaging(bench: Bench, until: float) -> Figures:
    """Seconds of an average of some models on the card, in float64, and of a sum in float32."""
    from soup import average

    models = [ingredient.weights for ingredient in bench.ingredients()[: bench.size.average]]
    seconds: dict[str, float] = {}

    def plain() -> dict[str, Tensor]:
        return {name: sum(m[name] for m in models) / len(models) for name in models[0]}

    for name, mean in (("seconds", lambda: average(models)), ("float32_loop", plain)):
        for _ in range(3):  # the last counts
            if time.perf_counter() > until:
                raise OutOfTime
            bench.wait()
            start = time.perf_counter()
            mean()
            bench.wait()
            seconds[name] = time.perf_counter() - start
    return {**seconds, "models": len(models)}


# Part, share of the time that is left, and what is published beside it.
PARTS: tuple[tuple[str, Callable[[Bench, float], Figures], float, Figures], ...] = (
    ("fine-tune", training, 0.12, {}),
    ("evaluate", evaluation, 0.1, {}),
    ("average", averaging, 0.1, {}),
    ("greedy", greedy_soup, 0.35, {"published_seconds": 3501, "published_memory_gb": 3}),
    ("learned", learned_soup, 0.5, {"published_seconds": 7701, "published_memory_gb": 253}),
    ("mehl", mehl_soup, 0.9, {"published_seconds": 808, "published_memory_gb": 19}),
)


def peak_of(name: str) -> float | None:
    """The card's peak in bfloat16 by its maker, operations a second; None if it is not known."""
    return next((peak * 1e12 for card, peak in PEAKS.items() if card in name.split()), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tenth", action="store_true", help="a tenth of the size, for a CPU")
    parser.add_argument("--minutes", type=float, default=8.0)
    given = parser.parse_args()
    end = time.perf_counter() + 60 * given.minutes - 20  # what a stopped part still does
    device, size = torch.device(given.device), TENTH if given.tenth else Size()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    bench = Bench(device, size)
    peak = peak_of(name)
    machine = {
        "device": name,
        "torch": torch.__version__,
        "parameters": bench.parameters,
        "heldout": size.heldout,
        "pixels": size.pixels,
        "precision": "bfloat16" if bench.half else "float32",
        "peak_by_maker": peak,
        "product_of_matrices": bench.products(),
    }
    print(json.dumps({"figure": "machine", **machine}), flush=True)
    for figure, part, share, published in PARTS:
        bench.peak_memory()
        now = time.perf_counter()
        try:
            found = part(bench, now + share * max(0.0, end - now))
        except (ModuleNotFoundError, OutOfTime, torch.OutOfMemoryError) as error:
            found = {"left_out": f"{type(error).__name__}: {error}"}
        if peak and "operations_per_second" in found:
            found["share_of_peak"] = found["operations_per_second"] / peak
        memory = {"peak_memory_gb": bench.peak_memory()}
        print(json.dumps({"figure": figure, **found, **memory, **published}), flush=True)


if __name__ == "__main__":
    main()
