"""What a scientist would change, typed and strict: `params.yaml` as one frozen value.

The same models make the form of the Prefect deployment, so each field is described here
and nowhere else.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from soup.places import HeldOut, Place, Source
from soup.strict import ParamsError, Strict, check

Fraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Published = Literal["imagenetv2", "imagenet-r", "imagenet-a", "imagenet-sketch", "objectnet"]


class Shift(Strict):
    """A set the models were not tuned for. It may hold a subset of the classes."""

    folder: str = Field(description="as downloaded, relative to data.root or absolute")
    layout: Literal["auto", "name", "index", "map", Published] = Field(
        "auto",
        description="class folders named by class, by its position among the sorted, or explained "
        "by a class map; or a published set as downloaded; auto: by what is there",
    )
    classes: str | None = Field(
        None,
        description="class map, relative to data.root: YAML, JSON (folder: class or classes), CSV",
    )

    @model_validator(mode="after")
    def map_has_classes(self) -> Self:
        if (self.layout == "map") > (self.classes is not None):
            raise ValueError("layout: map needs a class map, 'classes: FILE'")
        if self.classes is not None and self.layout not in ("auto", "map"):
            raise ValueError(f"layout: {self.layout} takes no class map")
        return self


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
    train: Place = Field(Source(path="train"), description="training images")
    test: Place = Field(Source(path="test"), description="test images, looked at only by evaluate")
    heldout: HeldOut = HeldOut(fraction=0.1)
    shifts: dict[Name, Shift] = Field(
        {}, description="distribution shifts, looked at only by evaluate"
    )
    real: str | None = Field(
        None, description="ReaL labels of ImageNet's test images (real.json), relative to root"
    )
    check: Literal["decode", "header"] = Field(
        "decode", description="decode every image, or read its header only (large sets)"
    )
    strict: bool = Field(False, description="stop at the first stage if any image is unusable")
    shapes: ShapesWorld | None = Field(None, description="draw the embedded image set into root")

    @model_validator(mode="after")
    def no_shift_is_named_as_a_split(self) -> Self:
        taken = sorted(self.shifts.keys() & {"train", "heldout", "test", "shifts", "real"})
        if taken:
            raise ValueError(f"shifts may not be called {', '.join(taken)}: these are splits")
        return self


class Pretrain(Strict):
    """Pretraining on the embedded world, for the demo."""

    epochs: PositiveInt = 3
    batch_size: PositiveInt = 64
    lr: PositiveFloat = 2.5e-3
    weight_decay: float = Field(0.05, ge=0)
    seed: Seed = 0


def _spelled(value: object) -> str:
    return "named" if isinstance(value, str) else "given"


Templates = Annotated[
    Annotated[Literal["openai", "simple", "photo"], Tag("named")]
    | Annotated[list[str], Field(min_length=1), Tag("given")],
    Discriminator(_spelled),
]


class Base(Strict):
    """The initialisation that every ingredient shares."""

    library: Literal["timm", "open_clip"] = "timm"
    model: str = Field(description="its name in that library, or a path to an open_clip config")
    kwargs: dict[str, Any] = Field({}, description="passed to the library's create_model")
    weights: str = Field(
        "pretrained",
        description="'pretrained' (timm), an open_clip tag, a file of weights, or 'embedded'",
    )
    image_size: PositiveInt | None = Field(None, description="default: the model's own")
    mean: tuple[float, float, float] | None = Field(None, description="default: the model's own")
    std: tuple[float, float, float] | None = Field(None, description="default: the model's own")
    class_names: list[str] | None = Field(
        None,
        description="names for prompts, in the order of the sorted class folders; default: "
        "ImageNet's for folders named by WordNet ids, else the folders' names",
    )
    templates: Templates = Field(
        "openai",
        description="prompts with {} for the class name (open_clip), or a list of them by name: "
        "openai (the 80 for ImageNet), simple (7 of them), photo (a photo of a {}.)",
    )
    head: Literal["new", "zeroshot", "keep"] = Field(
        "new", description="start of the head: zeros, made from class names, or as in the weights"
    )
    pretrain: Pretrain | None = Field(None, description="how to make the 'embedded' weights")

    @model_validator(mode="after")
    def consistent(self) -> Self:
        if (self.weights == "embedded") != (self.pretrain is not None):
            raise ValueError("weights: embedded and a 'pretrain' block go together")
        given = [] if isinstance(self.templates, str) else self.templates
        bad = [t for t in given if "{}" not in t]
        if bad:
            raise ValueError(f"templates without {{}} for the class name: {bad}")
        if self.head == "zeroshot" and self.library == "timm" and self.weights != "embedded":
            raise ValueError("head: zeroshot needs a text tower; a timm model has none")
        return self


class Probe(Strict):
    """The linear probe (LP): a head trained on features computed once."""

    penalty: float = Field(
        2e-3, ge=0, description="times the squared distance to the start (the zero-shot head, or 0)"
    )
    max_iterations: int = Field(200, ge=0, description="0: the base's head stays as it is")


Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Range(Strict):
    """A continuous dimension, drawn uniformly or log-uniformly, or switched off."""

    min: Rate
    max: Rate
    scale: Literal["linear", "log"] = "linear"
    zero: float = Field(0.0, ge=0, lt=1, description="probability of 0 instead of a draw")

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
Augment = Annotated[
    str,
    Field(
        pattern=r"^(none|minimal|medium|strong|rand-m\d+(\.\d+)?-n\d+(-[a-z]+\d*(\.\d+)?)*)$",
        description="'none' (crop and flip alone), timm's 'rand-mM-nN', or the paper's words: "
        "'minimal' (a crop of 90 to 100%), 'medium' (timm's default), 'strong' (rand-m15-n2)",
    ),
]
Whole = Annotated[int, Field(ge=0)]
SPACES = ("paper-random", "paper-grid", "extreme-grid", "seeds-only")
SpaceName = Literal["paper-random", "paper-grid", "extreme-grid", "seeds-only"]


class RandAugment(Strict):
    """RandAugment of random magnitude (M) and number of layers (N), or minimal augmentation."""

    magnitude: tuple[Whole, Whole] = (1, 20)
    layers: tuple[Whole, Whole] = (0, 2)
    minimal: float = Field(1 / 3, ge=0, le=1, description="probability of 'minimal' instead")


class Epochs(Strict):
    """A number of epochs, all equally likely."""

    min: PositiveInt
    max: PositiveInt

    @model_validator(mode="after")
    def ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class Space(Strict):
    """Each dimension is a list of choices, or (random search) a range.

    `like: paper-random` takes what is not given here from a space with a name (`soup/spaces.py`).
    """

    like: SpaceName | None = Field(None, description="a named space to start from")
    lr: Rates = Range(min=1e-6, max=1e-4, scale="log")
    weight_decay: Rates = Range(min=10**-4.1, max=10**-0.3, scale="log")
    epochs: Annotated[
        Annotated[Epochs, Tag("range")] | Annotated[list[PositiveInt], Tag("choices")],
        Discriminator(_form),
    ] = Field([4, 8, 10, 16])
    label_smoothing: Rates = Field([0.0])
    mixup: Rates = Field([0.0], description="alpha of the Beta distribution; 0 for none")
    cutmix: Rates = Field([0.0], description="the same; with both, one of them at even odds")
    augment: Annotated[
        Annotated[RandAugment, Tag("range")] | Annotated[list[Augment], Tag("choices")],
        Discriminator(_form),
    ] = Field(["none"], description="of timm, or in the paper's words")
    layer_decay: Rates = Field([1.0], description="factor of the learning rate from layer to layer")
    drop_path: Rates = Field([0.0], description="stochastic depth; 0 leaves the model's own")
    sam: Rates = Field([0.0], description="radius of sharpness-aware minimisation; 0 for none")
    seed: list[Seed] | None = Field(None, description="default: a seed of its own for each run")

    @model_validator(mode="after")
    def not_empty(self) -> Self:
        empty = [name for name, value in self if value == []]
        if empty:
            raise ValueError(f"no choices given for {', '.join(empty)}")
        return self


def _space(value: object) -> object:
    """A name alone is short for `like`."""
    return {"like": value} if isinstance(value, str) else value


class Swa(Strict):
    """Stochastic weight averaging: a constant rate at the end, the epochs of which are averaged."""

    start: Fraction = Field(0.6, description="share of the run after which it begins")
    lr: Fraction = Field(0.5, description="the constant rate, as a share of the peak")


class Halving(Strict):
    """Successive halving: runs that lag are stopped early."""

    rungs: list[Fraction] = Field(
        [0.25, 0.5], min_length=1, description="shares of a run at which all are compared"
    )
    keep: Fraction = Field(0.5, description="share of the runs that goes on at each rung")

    @model_validator(mode="after")
    def ordered(self) -> Self:
        if sorted(set(self.rungs)) != self.rungs:
            raise ValueError(f"rungs must rise, got {self.rungs}")
        return self


class Sweep(Strict):
    """The fine-tunes. Run i depends on (seed, i) alone: a larger `runs` adds runs, redoes none."""

    # `import` is a word of Python's.
    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True)

    runs: PositiveInt = Field(description="K, the number of fine-tunes")
    imported: str | None = Field(
        None,
        alias="import",
        description="folder of checkpoints that were fine-tuned elsewhere from this base: the "
        "first `runs` of them are scored and cooked, and nothing is trained",
    )
    method: Literal["random", "grid"] | None = Field(
        None, description="default: that of the named space, or random"
    )
    seed: Seed = 0
    optimizer: str = Field("adamw", description="one of timm's")
    batch_size: PositiveInt = 128
    accumulate: PositiveInt = Field(
        1, description="parts that a batch is computed in: less memory, the same result"
    )
    warmup: float = Field(
        0.08, ge=0, description="share of the steps (below 1), or steps, spent warming up"
    )
    clip: PositiveFloat | None = Field(1.0, description="largest gradient norm")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the passes; weights are kept and updated in float32"
    )
    compile: bool = Field(False, description="torch.compile: minutes first, faster then")
    grad_checkpointing: bool = Field(False, description="less memory, a third more time")
    ema: list[Fraction] = Field(
        [], description="decays of moving averages, each of which is one more ingredient a run"
    )
    swa: Swa | None = Field(None, description="one more ingredient a run")
    halving: Halving | None = Field(None, description="stop runs that lag; off unless given")
    crop: float = Field(1.0, gt=0, le=1, description="smallest share of the image a crop may keep")
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    space: Annotated[Space, BeforeValidator(_space)] = Field(
        Space(), description=f"what is searched: {', '.join(SPACES)}, or your own"
    )

    @model_validator(mode="after")
    def averages_differ(self) -> Self:
        if len(set(self.ema)) != len(self.ema):
            raise ValueError(f"ema has a decay twice: {self.ema}")
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
    devices_per_run: PositiveInt = Field(
        1,
        description="GPUs (or CPU processes) that share one fine-tune; dropout and mixup then draw "
        "anew, the rest is the same to float tolerance",
    )
    sharding: Literal["none", "full"] = Field(
        "none", description="full: the model itself is spread over them, where it does not fit one"
    )
    system_metrics: bool = Field(
        True, description="log use of CPU, memory and GPUs over time to the sweep's run in MLflow"
    )
    checkpoint_seconds: float = Field(
        60, ge=0, description="between a fine-tune's checkpoints; 0 for one after each step"
    )
    checkpoint_steps: PositiveInt | None = Field(
        None, description="a checkpoint every so many steps too"
    )
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

    @model_validator(mode="after")
    def shardable(self) -> Self:
        if self.compute.sharding == "none":
            return self
        sweep, sam = self.sweep, self.sweep.space.sam
        perturbed = sam.max > 0 if isinstance(sam, Range) else any(sam)
        asked = {"ema": sweep.ema, "swa": sweep.swa, "compile": sweep.compile, "sam": perturbed}
        clash = [name for name, value in asked.items() if value]
        if clash:
            raise ValueError(
                f"compute.sharding: full goes without {', '.join(clash)}, which need each device "
                "to hold the whole model; drop them from sweep, or set sharding: none"
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
