"""Where images are and which are held out, as a scientist writes it in `params.yaml`."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from soup.config.search_space import Seed
from soup.config.text import TextData, development
from soup.config.validation import Name, Strict, short_for

Fraction = Annotated[float, Field(gt=0, lt=1)]
Role = Literal["path", "label", "split"]
Published = Literal["imagenetv2", "imagenet-r", "imagenet-a", "imagenet-sketch", "objectnet"]


class Source(Strict):
    """Where images are, and how each is labelled; a path alone, where the layout tells it.

    Files are relative to data.root, or absolute.
    """

    path: str = Field(
        description="folder of class folders; .tar of them, or of a .tar a class (ImageNet's); "
        "folder or pattern ('shards/*.tar') of webdataset shards; list of paths and labels (.csv, "
        ".tsv, .txt, .parquet); hfds/NAME (Hugging Face)"
    )
    labels: str | None = Field(
        None,
        description="labels of images in no class folder: ImageNet's devkit (.tar.gz or unpacked), "
        "lines of 'path label' (first folders and suffix may be left out where one image fits), "
        "one label a line by the order of names, or a CSV",
    )
    classes: str | None = Field(
        None, description="file with the classes' names, one a line, that numeric labels stand for"
    )
    split: str | None = Field(
        None,
        description="rows of a list that has a column of splits, or split of a Hugging Face data "
        "set; default: train, heldout, test, or the shift's name",
    )
    columns: dict[Role, str] = Field(
        {}, description="names of a list's columns, where they are not guessed"
    )


class Hub(Strict):
    """A data set of the Hugging Face hub, whose splits are named hub:SPLIT as sources."""

    dataset: str = Field(description="OWNER/NAME on the hub", max_length=200)
    config: Name | None = Field(
        None,
        description="one of its configurations, such as cola of nyu-mll/glue; default: the only "
        "or default one",
    )
    revision: str | None = Field(
        None,
        description="branch, tag or commit; default: main. Its commit at the first download stays",
        max_length=200,
    )

    @model_validator(mode="after")
    def names_are_plain(self) -> Self:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", self.dataset, re.ASCII):
            raise ValueError(f"dataset must be OWNER/NAME, as in its address, got {self.dataset!r}")
        if not re.fullmatch(r"[A-Za-z0-9][\w./-]*", self.revision or "main", re.ASCII):
            raise ValueError(f"revision must be a branch, tag or commit, got {self.revision!r}")
        return self


SourceSpec = Annotated[Source, short_for("path", json_schema_input_type=str | Source)]


class HeldOut(Strict):
    """Which images are set aside to rank and to cook.

    By a stable hash of the path (fraction, per_class), by a published index, or apart from train.
    """

    fraction: Fraction | None = Field(None, description="share of each class")
    per_class: PositiveInt | None = Field(
        None,
        description="images of each class (ImageNet: 26); beside 'index': a check of it",
    )
    index: str | None = Field(
        None,
        description="file that says which of train's images are held out: a mask (.npy of 0 and 1) "
        "or positions, in the order of the sorted classes and names; or paths, one a line",
    )
    folder: SourceSpec | None = Field(
        None,
        description="a folder or other source of held-out images; those that train holds too, by "
        "content, are taken from train",
    )

    @model_validator(mode="after")
    def one_of(self) -> Self:
        ways = [n for n in ("fraction", "index", "folder") if getattr(self, n) is not None]
        if self.per_class is not None and self.index is None:
            ways.append("per_class")
        if len(ways) != 1:
            raise ValueError("give exactly one of 'fraction', 'per_class', 'index' and 'folder'")
        return self


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


class ImageLimits(Strict):
    """The largest picture that is read; a larger one is left out and named."""

    megapixels: PositiveFloat = Field(
        60,
        allow_inf_nan=False,
        description="of one picture, in millions; half of it for WebP, AVIF and JPEG 2000",
    )
    megabytes: PositiveFloat = Field(
        200,
        allow_inf_nan=False,
        description="of its file, in millions; a fifth of it for WebP, AVIF and JPEG 2000",
    )
    ratio: float = Field(
        100, ge=1, allow_inf_nan=False, description="of its longer side to its shorter"
    )


def in_hub(path: str) -> bool:
    """Whether the path of a source is hub:SPLIT."""
    return path.startswith("hub:")


class Data(Strict):
    """Which images or texts, and how they are split."""

    root: str = Field(description="folder that the other folders are relative to")
    hub: Annotated[Hub, short_for("dataset")] | None = Field(
        None,
        description="data set that prepare downloads into root; train and test are then by default "
        "its splits of that name (hub:train, hub:test)",
    )
    train: SourceSpec = Field(Source(path="train"), description="training images")
    test: SourceSpec = Field(
        Source(path="test"), description="test images, looked at only by evaluate"
    )
    heldout: HeldOut = HeldOut(fraction=0.1)
    shifts: dict[Name, Shift] = Field(
        {}, description="distribution shifts, looked at only by evaluate"
    )
    roots: list[str] = Field(
        [],
        description="further folders that the paths of lists, and links that they name, may lead "
        "to; relative to root or absolute",
    )
    real: str | None = Field(
        None, description="ReaL labels of ImageNet's test images (real.json), relative to root"
    )
    check: Literal["decode", "header"] = Field(
        "decode", description="decode every image, or read its header only (large sets)"
    )
    overlap: Literal["error", "report"] = Field(
        "error",
        description="what pictures that test shares with train or held-out, by content, are: an "
        "error, or reported and kept",
    )
    limits: ImageLimits = ImageLimits()
    strict: bool = Field(False, description="stop at the first stage if any image is unusable")
    text: Annotated[TextData, short_for("task")] | None = Field(
        None, description="these are texts: a task of GLUE (cola, rte, ...), or {} for any others"
    )
    shapes: ShapesWorld | None = Field(None, description="draw the embedded image set into root")

    @model_validator(mode="before")
    @classmethod
    def usual_tables(cls, given: Any) -> Any:
        """Those of the data set of the hub, or of the GLUE task."""
        if not isinstance(given, dict):
            return given
        text, usual = given.get("text"), {}
        task = text.get("task") if isinstance(text, dict) else getattr(text, "task", text)
        if given.get("hub") is not None:
            usual = {"train": "hub:train", "test": "hub:test"}
        elif task is not None:
            usual = {"train": "train.tsv", "test": development(task)}
        return usual | given

    @model_validator(mode="after")
    def splits_of_the_hub_have_a_data_set(self) -> Self:
        held = [self.heldout.folder.path] if self.heldout.folder else []
        shifts = [shift.folder for shift in self.shifts.values()]
        named = [p for p in (self.train.path, self.test.path, *held, *shifts) if in_hub(p)]
        if named and self.hub is None:
            raise ValueError(f"{named[0]} needs the data set: hub: OWNER/NAME")
        if self.hub is not None and self.text is None:
            raise ValueError("hub is of texts alone; for images name hfds/OWNER/NAME as a source")
        if self.hub is not None and self.text is not None and self.text.task is not None:
            raise ValueError(
                f"text: {self.text.task} reads GLUE's own files; with hub set text: {{}}, and "
                "soup.score to the task's score"
            )
        return self

    @model_validator(mode="after")
    def no_shift_is_named_as_a_split(self) -> Self:
        taken = sorted(self.shifts.keys() & {"train", "heldout", "test", "shifts", "real"})
        if taken:
            raise ValueError(f"shifts may not be called {', '.join(taken)}: these are splits")
        return self
