"""What a scientist would change, typed and strict: `params.yaml` as one frozen value.

The same models make the form of the Prefect deployment, so each field is described here
and nowhere else.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from soup.config.compute import Compute
from soup.config.cooking import Cook
from soup.config.data import Data, Fraction
from soup.config.named_spaces import filled
from soup.config.search_space import SPACES, Range, Seed, Space
from soup.config.studies import StudyName, StudyOptions
from soup.config.text import require_score, require_text_model
from soup.config.validation import Name, ParamsError, Strict, check, one_of, short_for
from soup.config.yaml_text import read_yaml
from soup.files import BadJson


class Pretrain(Strict):
    """Pretraining on the embedded world."""

    epochs: PositiveInt = 3
    batch_size: PositiveInt = 64
    lr: PositiveFloat = 2.5e-3
    weight_decay: float = Field(0.05, ge=0)
    seed: Seed = 0


Templates = Annotated[
    Annotated[Literal["openai", "simple", "photo"], Tag("named")]
    | Annotated[list[str], Field(min_length=1), Tag("given")],
    Discriminator(lambda value: "named" if isinstance(value, str) else "given"),
]


class Base(Strict):
    """The initialisation that every ingredient shares."""

    library: Literal["timm", "open_clip", "transformers"] = "timm"
    model: str = Field(
        description="its name in that library, or the path of an open_clip config or of a folder "
        "with a config.json of transformers"
    )
    kwargs: dict[str, Any] = Field(
        {}, description="passed to the library's create_model; transformers: values of the config"
    )
    weights: str = Field(
        "pretrained",
        description="'pretrained' (timm, transformers), an open_clip tag, a file of weights, "
        "'random' (transformers), or 'embedded'",
    )
    tokenizer: str | None = Field(
        None, description="name or folder of a text model's tokenizer; default: the model's own"
    )
    max_length: PositiveInt | None = Field(
        None, description="tokens at which texts are cut; default: what the model takes"
    )
    image_size: PositiveInt | None = Field(None, description="default: the model's own")
    mean: tuple[float, float, float] | None = Field(None, description="default: the model's own")
    std: tuple[float, float, float] | None = Field(None, description="default: the model's own")
    class_names: list[str] | None = Field(
        None,
        description="names for prompts, in the order of the class folders (sorted; numbers by "
        "number); default: ImageNet's for folders named by WordNet ids, else the folders' names",
    )
    templates: Templates = Field(
        "openai",
        description="prompts with {} for the class name (open_clip), or a list of them by name: "
        "openai (the 80 for ImageNet), simple (7 of them), photo (a photo of a {}.)",
    )
    head: Literal["new", "zeroshot", "keep", "text"] = Field(
        "new",
        description="start of the head: zeros, made from class names, or as in the weights; text: "
        "T5 writes the label's words, as it was trained, and has no head",
    )
    prompt: str | None = Field(
        None,
        description="what a model with head: text reads, with {text} and {text_pair}; default: the "
        "prefix that T5 was trained with on the GLUE task, such as 'cola sentence: {text}'",
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
        if self.head == "text" and self.library != "transformers":
            raise ValueError("head: text is of library: transformers alone")
        if self.prompt is not None and (self.head != "text" or "{text}" not in self.prompt):
            raise ValueError("prompt goes with head: text, and holds {text}")
        texts = [name for name in ("tokenizer", "max_length") if getattr(self, name) is not None]
        if texts and self.library != "transformers":
            raise ValueError(f"{', '.join(texts)}: of library: transformers alone")
        if self.head == "zeroshot" and self.library == "timm" and self.weights != "embedded":
            raise ValueError("head: zeroshot needs a text tower; a timm model has none")
        return self


class Probe(Strict):
    """The linear probe (LP): a head trained on features computed once."""

    penalty: float = Field(
        2e-3, ge=0, description="times the squared distance to the start (the zero-shot head, or 0)"
    )
    max_iterations: int = Field(200, ge=0, description="0: the base's head stays as it is")


class Swa(Strict):
    """Stochastic weight averaging: a constant rate at the end, the epochs of which are averaged."""

    start: Fraction = Field(0.6, description="share of the run after which it begins")
    lr: Fraction = Field(0.5, description="the constant rate, as a share of the peak")


class Halving(Strict):
    """Successive halving: runs that lag are stopped early."""

    rungs: Annotated[list[Fraction], one_of()] = Field(
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
    decay: Literal["cosine", "linear"] = Field("cosine", description="of the rate, to zero")
    clip: PositiveFloat | None = Field(1.0, description="largest gradient norm")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the passes; weights are kept and updated in float32"
    )
    compile: bool = Field(False, description="torch.compile: minutes first, faster then")
    grad_checkpointing: bool = Field(False, description="less memory, a third more time")
    frozen_batchnorm: bool = Field(
        False, description="BatchNorm layers keep the statistics of the base, in training too"
    )
    ema: Annotated[list[Fraction], one_of()] = Field(
        [], description="decays of moving averages, each of which is one more ingredient a run"
    )
    swa: Swa | None = Field(None, description="one more ingredient a run")
    halving: Halving | None = Field(None, description="stop runs that lag; off unless given")
    crop: float = Field(1.0, gt=0, le=1, description="smallest share of the image a crop may keep")
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    space: Annotated[Space, short_for("like"), AfterValidator(filled)] = Field(
        Space(), description=f"what is searched: {', '.join(SPACES)}, or your own"
    )

    @model_validator(mode="after")
    def averages_differ(self) -> Self:
        if len(set(self.ema)) != len(self.ema):
            raise ValueError(f"ema has a decay twice: {self.ema}")
        return self

    @model_validator(mode="after")
    def halving_has_runs_to_stop(self) -> Self:
        if self.imported is not None and self.halving is not None:
            raise ValueError("halving stops fine-tunes, and import trains none; leave one out")
        return self


class Evaluate(Strict):
    bootstrap: PositiveInt = Field(1000, description="resamples for the confidence intervals")
    confidence: Fraction = 0.95
    ece_bins: PositiveInt = 15
    seed: Seed = 0
    keep_predictions: Annotated[list[Name] | None, one_of()] = Field(
        None,
        description="of test and the shifts, those whose answers are stored with each run in "
        "MLflow (float16); this machine keeps all in .cache/soup/answers as well, within "
        "compute.cache_gib; default: those of at most 8 MiB a model",
    )
    bf16: bool = Field(False, description="answer test and shifts in bfloat16 where there is a GPU")


class Register(Strict):
    model: Name = Field("soup", description="name in MLflow's model registry")
    largest_p: float = Field(
        1.0,
        gt=0,
        le=1,
        description="largest p (exact McNemar, held-out) at which a soup replaces the champion; "
        "1: fewer errors are enough",
    )


class Params(Strict):
    """All of `params.yaml`."""

    experiment: Name = Field(description="MLflow experiment, and the folder under out/")
    data: Data
    base: Base
    probe: Probe = Probe()
    sweep: Sweep
    soup: Cook = Cook()
    evaluate: Evaluate = Evaluate()
    registry: Register = Field(Register(), alias="register")
    studies: dict[StudyName, StudyOptions] = Field(
        {}, description="studies that the pipeline makes of the finished sweep, with their options"
    )
    compute: Compute = Compute()

    @model_validator(mode="after")
    def kept_splits_exist(self) -> Self:
        known = ["test", *self.data.shifts]
        unknown = [name for name in self.evaluate.keep_predictions or () if name not in known]
        if unknown:
            raise ValueError(
                f"evaluate.keep_predictions: no split {', '.join(unknown)}; "
                f"there are {', '.join(known)}"
            )
        return self

    @model_validator(mode="after")
    def texts_have_a_text_model(self) -> Self:
        require_text_model(self.data.text, self.base.library, self.sweep.space)
        require_score(self.data.text, self.soup.score, self.sweep.space, self.base.head)
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
        raw = read_yaml(path)
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read: {error}") from None
    except BadJson as error:
        raise ParamsError(str(error)) from None
    return parse(raw, str(path))


def parse(raw: object, source: str = "params") -> Params:
    """Check parameters that are in memory; `source` names them in the error."""
    return check(Params, raw, source)
