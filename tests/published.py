"""The published scoring of the shifts, written out slowly: what the package must be equal to.

After the evaluation in mlfoundations/model-soups and mlfoundations/wise-ft (`datasets/`), and, for
ReaL, google-research/reassessed-imagenet. Each function looks into the download itself, is given a
model's 1,000 logits for every file, and says which files are answered right. Nothing of the package
is used here.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

Logits = Mapping[Path, Sequence[float]]
Right = dict[Path, bool]


def among(logits: Sequence[float], allowed: Sequence[int]) -> int:
    """The answer where only some may be given: that of the largest logit, the first of equals."""
    best = allowed[0]
    for at in allowed:
        if logits[at] > logits[best]:
            best = at
    return best


def imagenetv2(download: Path, logits: Logits) -> Right:
    """A folder's name is the label; all 1,000 may be answered."""
    return {
        file: among(logits[file], range(1000)) == int(file.parent.name)
        for file in download.glob("*/*.jpeg")
    }


def some_wnids(
    download: Path, logits: Logits, wnids: Sequence[str], subset: Sequence[int]
) -> Right:
    """ImageNet-R and -A (their 200) and -Sketch (all): a folder's wnid is the label."""
    right: Right = {}
    for folder in download.iterdir():
        if folder.is_dir():
            for file in folder.iterdir():
                right[file] = among(logits[file], subset) == wnids.index(folder.name)
    return right


def objectnet(download: Path, logits: Logits) -> Right:
    """Each covered class scores the largest logit of the ImageNet classes that it stands for."""

    def read(name: str) -> dict:
        return json.loads((download / "mappings" / name).read_text())

    torch_of_line = {}
    for torch_position, line in read("pytorch_to_imagenet_2012_id.json").items():
        torch_of_line[line] = int(torch_position)
    position_of_name = {}
    text = (download / "mappings" / "imagenet_to_label_2012_v2").read_text()
    for line, name in enumerate(text.splitlines()):
        position_of_name[name.strip()] = torch_of_line[line]
    stands_for = {}
    meaning = read("objectnet_to_imagenet_1k.json")
    for folder, label in read("folder_to_objectnet_label.json").items():
        if label in meaning:
            stands_for[folder] = [position_of_name[name] for name in meaning[label].split("; ")]
    covered = sorted(stands_for)
    right: Right = {}
    for folder in covered:
        for file in (download / "images" / folder).iterdir():
            scores = [max(logits[file][at] for at in stands_for[one]) for one in covered]
            right[file] = covered[among(scores, range(len(covered)))] == folder
    return right


def real(file: Path, images: Iterable[Path], logits: Logits) -> Right:
    """Right if the answer is one of the labels in the validation order; none: not counted."""
    labels = json.loads(file.read_text())
    right: Right = {}
    for image in images:
        known = labels[int(image.stem[-8:]) - 1]
        if known:
            right[image] = among(logits[image], range(1000)) in known
    return right
