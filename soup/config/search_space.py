"""The dimensions of a search: what each may be, as choices or as a range."""

from collections.abc import Callable
from typing import Annotated, Literal, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PositiveInt,
    Tag,
    model_validator,
)

from soup.config.augmentation import as_timm_takes_it
from soup.config.validation import Strict, one_of

Seed = Annotated[int, Field(ge=0, lt=2**32)]
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
Drawn = TypeVar("Drawn")
Choice = TypeVar("Choice")
Dimension = Annotated[
    Annotated[Drawn, Tag("range")] | Annotated[list[Choice], Tag("choices")], Discriminator(_form)
]
Rates = Annotated[Dimension[Range, Rate], one_of(json_schema_input_type=Range | list[Rate] | Rate)]


def _bounded(allowed: Callable[[float], bool], bounds: str) -> AfterValidator:
    """Check every choice, and both ends of a range (and the 0 that its `zero` may draw)."""

    def check(given: Range | list[float]) -> Range | list[float]:
        if isinstance(given, Range):
            values = [given.min, given.max, *([0.0] if given.zero else [])]
        else:
            values = given
        for value in values:
            if not allowed(value):
                raise ValueError(f"must be {bounds}: {value:g} is not")
        return given

    return AfterValidator(check)


Augment = Annotated[
    str,
    AfterValidator(as_timm_takes_it),
    Field(
        description="'none' (crop and flip alone), timm's 'rand-mM-nN', or the paper's words: "
        "'minimal' (a crop of 90 to 100%), 'medium' (timm's default), 'strong' (rand-m15-n2)",
    ),
]
Whole = Annotated[int, Field(ge=0)]
FromTo = Annotated[  # one number is both
    tuple[Whole, Whole],
    BeforeValidator(lambda both: (both, both) if isinstance(both, int) else both),
]
SpaceName = Literal["paper-random", "paper-grid", "extreme-grid", "seeds-only", "paper-text"]
SPACES = get_args(SpaceName)


class RandAugment(Strict):
    """RandAugment of random magnitude (M) and number of layers (N), or minimal augmentation."""

    magnitude: FromTo = (1, 20)
    layers: FromTo = (0, 2)
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
    """Each dimension is a value, a list of choices, or (random search) a range.

    `like: paper-random` takes what is not given here from a named space
    (`soup/config/named_spaces.py`).
    """

    like: SpaceName | None = Field(None, description="a named space to start from")
    lr: Rates = Range(min=1e-6, max=1e-4, scale="log")
    weight_decay: Rates = Range(min=10**-4.1, max=10**-0.3, scale="log")
    epochs: Annotated[
        Dimension[Epochs, PositiveInt],
        one_of(json_schema_input_type=Epochs | list[PositiveInt] | PositiveInt),
    ] = Field([4, 8, 10, 16])
    label_smoothing: Annotated[
        Rates, _bounded(lambda share: 0 <= share < 1, "at least 0 and less than 1")
    ] = Field([0.0])
    mixup: Rates = Field([0.0], description="alpha of the Beta distribution; 0 for none")
    cutmix: Rates = Field([0.0], description="the same; with both, one of them at even odds")
    augment: Annotated[
        Dimension[RandAugment, Augment],
        one_of(json_schema_input_type=RandAugment | list[Augment] | Augment),
    ] = Field(["none"], description="of timm, or in the paper's words")
    layer_decay: Annotated[
        Rates, _bounded(lambda factor: 0 < factor <= 1, "greater than 0 and at most 1")
    ] = Field([1.0], description="factor of the learning rate from layer to layer")
    drop_path: Annotated[
        Rates, _bounded(lambda rate: 0 <= rate <= 1, "at least 0 and at most 1")
    ] = Field([0.0], description="stochastic depth; 0 leaves the model's own")
    sam: Rates = Field([0.0], description="radius of sharpness-aware minimisation; 0 for none")
    batch_size: Annotated[list[PositiveInt] | None, one_of()] = Field(
        None, description="examples a step; default: sweep.batch_size"
    )
    seed: Annotated[list[Seed] | None, one_of()] = Field(
        None, description="default: a seed of its own for each run"
    )

    @model_validator(mode="after")
    def not_empty(self) -> Self:
        empty = [name for name, value in self if value == []]
        if empty:
            raise ValueError(f"no choices given for {', '.join(empty)}")
        return self
