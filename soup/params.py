"""What a scientist would change, typed and strict: `params.yaml` as one frozen value.

The same models make the form of the Prefect deployment, so each field is described here
and nowhere else.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from soup.strict import ParamsError, Strict, check

Fraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class HeldOut(Strict):
    """How many training images are set aside to rank and to cook, by a stable hash of the path."""

    fraction: Fraction | None = Field(None, description="share of each class")
    per_class: PositiveInt | None = Field(None, description="images of each class (ImageNet: 26)")

    @model_validator(mode="after")
    def one_of(self) -> Self:
        if (self.fraction is None) == (self.per_class is None):
            raise ValueError("give exactly one of 'fraction' and 'per_class'")
        return self


class Shift(Strict):
    """A set the models were not tuned for. It may hold a subset of the classes."""

    folder: str = Field(description="folder of class folders, relative to data.root or absolute")
    named_by: Literal["name", "index"] = Field(
        "name", description="class folders are named by class, or by its position among the sorted"
    )


class ShapesWorld(Strict):
    """The embedded image set: drawn into data.root, a pure function of the seed."""

    seed: Seed = 0
    train: PositiveInt = Field(9000, description="images drawn for train and held-out together")
    test: PositiveInt = 4000
    shift: PositiveInt = Field(2000, description="images of each shift")
    upstream: PositiveInt = Field(30000, description="images that the base model is pretrained on")


class Data(Strict):
    """Which images, and how they are split."""

    root: str = Field(description="folder that the other folders are relative to")
    train: str = Field("train", description="folder of class folders")
    test: str = Field("test", description="folder of class folders, looked at only by evaluate")
    heldout: HeldOut = HeldOut(fraction=0.1)
    shifts: dict[Name, Shift] = Field(
        {}, description="distribution shifts, looked at only by evaluate"
    )
    check: Literal["decode", "header"] = Field(
        "decode", description="decode every image, or read its header only (large sets)"
    )
    strict: bool = Field(False, description="stop at the first stage if any image is unusable")
    shapes: ShapesWorld | None = Field(None, description="draw the embedded image set into root")


class Pretrain(Strict):
    """Pretraining on the embedded world, for the demo."""

    epochs: PositiveInt = 3
    batch_size: PositiveInt = 64
    lr: PositiveFloat = 2.5e-3
    weight_decay: float = Field(0.05, ge=0)
    seed: Seed = 0


class Base(Strict):
    """The initialisation that every ingredient shares."""

    library: Literal["timm", "open_clip"] = "timm"
    model: str = Field(description="its name in that library, or a path to an open_clip config")
    kwargs: dict[str, Any] = Field({}, description="passed to the library's create_model")
    weights: str = Field(
        "pretrained",
        description="'pretrained' (timm), an open_clip tag, a safetensors file, or 'embedded'",
    )
    image_size: PositiveInt | None = Field(None, description="default: the model's own")
    mean: tuple[float, float, float] | None = Field(None, description="default: the model's own")
    std: tuple[float, float, float] | None = Field(None, description="default: the model's own")
    class_names: list[str] | None = Field(
        None, description="names for prompts, in the order of the sorted class folders"
    )
    templates: list[str] = Field(
        [], description="prompts with {} for the class name (open_clip); default: OpenAI's 80"
    )
    head: Literal["new", "zeroshot", "keep"] = Field(
        "new", description="start of the head: zeros, made from class names, or as in the weights"
    )
    pretrain: Pretrain | None = Field(None, description="how to make the 'embedded' weights")

    @model_validator(mode="after")
    def consistent(self) -> Self:
        if (self.weights == "embedded") != (self.pretrain is not None):
            raise ValueError("weights: embedded and a 'pretrain' block go together")
        bad = [t for t in self.templates if "{}" not in t]
        if bad:
            raise ValueError(f"templates without {{}} for the class name: {bad}")
        if self.head == "zeroshot" and self.library == "timm" and self.weights != "embedded":
            raise ValueError("head: zeroshot needs a text tower; a timm model has none")
        if self.head == "keep" and self.library == "open_clip":
            raise ValueError("head: keep needs a classifier; an open_clip model has none")
        return self


class Probe(Strict):
    """The linear probe (LP): a head trained on features computed once."""

    penalty: float = Field(
        2e-3, ge=0, description="times the squared distance to the start (the zero-shot head, or 0)"
    )
    max_iterations: PositiveInt = 200


Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Range(Strict):
    """A continuous dimension, drawn uniformly or log-uniformly."""

    min: Rate
    max: Rate
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        if self.scale == "log" and self.min <= 0:
            raise ValueError(f"a log scale needs min > 0, got {self.min}")
        return self


def _form(value: object) -> str:
    return "choices" if isinstance(value, list) else "range"


# Told apart by form, so that an error speaks of the form that was meant.
Rates = Annotated[
    Annotated[Range, Tag("range")] | Annotated[list[Rate], Tag("choices")], Discriminator(_form)
]
Augment = Annotated[str, Field(pattern=r"^(none|rand-m\d+(\.\d+)?-n\d+(-[a-z]+\d*(\.\d+)?)*)$")]


class Space(Strict):
    """Each dimension is a list of choices, or (random search) a range."""

    lr: Rates = Range(min=1e-6, max=1e-4, scale="log")
    weight_decay: Rates = Range(min=10**-4.1, max=10**-0.3, scale="log")
    epochs: list[PositiveInt] = Field([4, 8, 10, 16], min_length=1)
    label_smoothing: Rates = Field([0.0])
    mixup: Rates = Field([0.0])
    augment: list[Augment] = Field(
        ["none"], min_length=1, description="'none' or timm's rand-mM-nN"
    )
    seed: list[Seed] | None = Field(None, description="default: a seed of its own for each run")

    @model_validator(mode="after")
    def not_empty(self) -> Self:
        empty = [name for name, value in self if value == []]
        if empty:
            raise ValueError(f"no choices given for {', '.join(empty)}")
        return self


class Sweep(Strict):
    """The fine-tunes. Run i depends on (seed, i) alone: a larger `runs` adds runs, redoes none."""

    runs: PositiveInt = Field(description="K, the number of fine-tunes")
    method: Literal["random", "grid"] = "random"
    seed: Seed = 0
    batch_size: PositiveInt = 128
    warmup: float = Field(0.08, ge=0, lt=1, description="share of the steps spent warming up")
    clip: PositiveFloat = Field(1.0, description="largest gradient norm")
    crop: float = Field(1.0, gt=0, le=1, description="smallest share of the image a crop may keep")
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    space: Space = Space()

    @model_validator(mode="after")
    def grid_has_choices(self) -> Self:
        if self.method == "grid":
            ranges = [name for name, value in self.space if isinstance(value, Range)]
            if ranges:
                raise ValueError(f"a grid needs lists of choices, not ranges: {', '.join(ranges)}")
        return self


class Cook(Strict):
    """How the ingredients become a soup."""

    recipe: Literal["uniform", "greedy"] = "greedy"
    tie: Literal["keep", "reject"] = Field(
        "keep", description="an equal score: keep (the paper, >=) or reject (the published code, >)"
    )
    include_probe: bool = Field(True, description="the LP model is a candidate too")


class Evaluate(Strict):
    bootstrap: PositiveInt = Field(1000, description="resamples for the confidence intervals")
    confidence: Fraction = 0.95
    ece_bins: PositiveInt = 15
    seed: Seed = 0
    keep_predictions: list[Name] = Field(
        [],
        description="of test and the shifts, those whose answers are kept with each run (float16): "
        "evaluating again, with other intervals or models, then costs no forward pass for them",
    )
    bf16: bool = Field(False, description="answer test and shifts in bfloat16 where there is a GPU")


class Register(Strict):
    model: Name = Field("soup", description="name in MLflow's model registry")


class Compute(Strict):
    """Where and how fast; nothing here changes a result, so nothing here is in a digest."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    slots: PositiveInt | None = Field(
        None, description="fine-tunes at once; default: one a GPU, or one a CPU core"
    )
    checkpoint_seconds: PositiveFloat = Field(60, description="between a fine-tune's checkpoints")
    eval_batch_size: PositiveInt = 256
    cache_gib: PositiveFloat = Field(
        8,
        description="decoded images and features kept on disk for reuse, in all; those not used "
        "for longest are removed, and a set without room is read from its files each time",
    )


class Params(Strict):
    """All of `params.yaml`."""

    # `register` is the word of the domain; it would shadow a method of pydantic's metaclass.
    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True)

    experiment: Name = Field(description="MLflow experiment, and the folder under out/")
    data: Data
    base: Base
    probe: Probe = Probe()
    sweep: Sweep
    soup: Cook = Cook()
    evaluate: Evaluate = Evaluate()
    registry: Register = Field(Register(), alias="register")
    compute: Compute = Compute()

    @model_validator(mode="after")
    def kept_splits_exist(self) -> Self:
        known = ["test", *self.data.shifts]
        unknown = [name for name in self.evaluate.keep_predictions if name not in known]
        if unknown:
            raise ValueError(
                f"evaluate.keep_predictions: no split {', '.join(unknown)}; "
                f"there are {', '.join(known)}"
            )
        return self


def load(path: str | Path) -> Params:
    """Read and check a parameter file.

    Raises:
        ParamsError: the file is missing, is not YAML, or breaks a rule; every problem is listed.
    """
    try:
        raw = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: is not YAML: {error}") from None
    return parse(raw, str(path))


def parse(raw: object, source: str = "params") -> Params:
    """Check parameters that are already in memory; `source` names them in the error."""
    return check(Params, raw, source)
