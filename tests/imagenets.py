"""Generated copies of ImageNet's validation set and its shifts, laid out as downloaded."""

import io
import json
import os
import random
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import timm.data  # noqa: F401  (seconds, which no one test should be charged)
from PIL import Image

from soup.config.data import Data, Shift
from soup.data.shifts.arrange import Arranged, arrange
from soup.data.shifts.imagenet import wnids
from soup.data.sources.folders import scan

# ObjectNet's classes in these copies: folder, label, positions among the 1,000; () is not covered.
OBJECTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "alarm_clock": ("Alarm clock", (409, 530)),
    "backpack": ("Backpack", (414,)),
    "chair": ("Chair", (423, 559, 765)),
    "mixing_salad_bowl": ("Mixing / Salad Bowl", (659,)),
    "weight_scale": ("Weight scale", ()),
}


def classmaps() -> Path:
    """The published class tables, where they are; a test that wants them is skipped elsewhere."""
    repo = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("MODELSOUP_SHARED_DATA", repo.parent / "shared" / "data"))
    if not (folder / "classmaps").is_dir():
        pytest.skip(f"no published class tables in {folder}; set MODELSOUP_SHARED_DATA")
    return folder / "classmaps"


def encoded(kind: str, seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.frombytes("RGB", (6, 6), random.Random(seed).randbytes(108)).save(buffer, kind)
    return buffer.getvalue()


def fill(folder: Path, names: Mapping[str, Iterable[str]], kind: str = "JPEG") -> Path:
    """A tiny image of its own under each name: class folder -> files."""
    for label, files in names.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for name in files:
            path = folder / label / name
            path.write_bytes(encoded(kind, zlib.crc32(f"{folder.name}/{label}/{name}".encode())))
    return folder


def validation(folder: Path, positions: Iterable[int], each: int = 2) -> Path:
    """Validation images in wnid folders; their numbers run through the classes in turn."""
    held = list(positions)
    names = {
        wnids()[at]: [f"ILSVRC2012_val_{n * len(held) + k + 1:08d}.JPEG" for n in range(each)]
        for k, at in enumerate(held)
    }
    return fill(folder, names)


def imagenetv2(folder: Path) -> Path:
    return fill(folder, {str(at): [f"{at:040x}.jpeg"] for at in range(1000)})


def by_wnid(folder: Path, positions: Iterable[int], name: str = "art_{}.jpg") -> Path:
    """ImageNet-R, -A or -Sketch, with the text file that lies beside their folders."""
    fill(folder, {wnids()[at]: [name.format(at)] for at in positions})
    (folder / "README.txt").write_text("as downloaded")
    return folder


def objectnet(folder: Path, each: int = 3) -> Path:
    """ObjectNet's images and its four mapping files, of the classes above."""
    names = {label: [f"{label[:2]}{n}.png" for n in range(each)] for label in OBJECTS}
    fill(folder / "images", names, "PNG")
    numbers = random.Random(5).sample(range(1000), 1000)  # torch's position -> line of the list
    lines = [""] * 1000
    for at, number in enumerate(numbers):
        lines[number] = f"thing {at}, synonym of {at}"
    covered = {label: held for label, held in OBJECTS.values() if held}
    labels = {folder: label for folder, (label, _) in OBJECTS.items()}
    write(folder, "folder_to_objectnet_label.json", labels)
    meaning = {
        label: "; ".join(lines[numbers[at]] for at in held) for label, held in covered.items()
    }
    write(folder, "objectnet_to_imagenet_1k.json", meaning)
    write(folder, "pytorch_to_imagenet_2012_id.json", {str(a): n for a, n in enumerate(numbers)})
    (folder / "mappings" / "imagenet_to_label_2012_v2").write_text("\n".join(lines) + "\n")
    return folder


def asked(root: Path, known: Sequence[str], **shift: Any) -> Arranged:
    """What train's classes are asked by one shift, which is in the folder 'shift'."""
    data = Data(root=str(root), shifts={"shift": Shift(folder="shift", **shift)})
    return arrange(data, {"shift": scan(root, "shift")[0]}, known, root)


def problem(root: Path, known: Sequence[str], **shift: Any) -> str:
    """Why it cannot be read; the root is left out."""
    (told,) = asked(root, known, **shift).problems
    return told.replace(str(root), "")


def write(folder: Path, name: str, value: object) -> None:
    path = folder / "mappings" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
