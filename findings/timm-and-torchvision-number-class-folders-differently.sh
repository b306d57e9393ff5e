#!/usr/bin/env bash
# timm 1.0.31 and torchvision 0.29.2 give the classes of one image folder different numbers, where
# the folders are named by numbers without leading zeros.
#
# Both read FOLDER/<class>/<image>. torchvision's ImageFolder sorts the names as text (0, 1, 10, 11,
# 2, ...), timm's as people do (0, 1, 2, ..., 10, 11). So a head that was trained with one, and is
# judged with the other, has ten of twelve rows permuted, and neither says a word. Names as text, such
# as cat and dog, and numbers padded with zeros are numbered alike.
#
# Seen (the numbers of the folders 0 to 11):
#   torchvision: 0 1 4 5 6 7 8 9 10 11 2 3
#   timm:        0 1 2 3 4 5 6 7 8 9 10 11
set -euo pipefail
PYTHON=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$PYTHON" -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check \
    timm==1.0.31 torch==2.15.0 torchvision==0.29.2 pillow==13.0.0 2>/dev/null

environment/bin/python - <<'PYTHON'
from pathlib import Path

from PIL import Image
from timm.data import create_dataset
from torchvision.datasets import ImageFolder

names = [str(number) for number in range(12)]
for name in names:
    Path("train", name).mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(Path("train", name, "image.png"))
text = ImageFolder("train").class_to_idx
natural = create_dataset("", "train").reader.class_to_idx
print("torchvision:", *(text[name] for name in names))
print("timm:       ", *(natural[name] for name in names))
assert [text[name] for name in names] == [sorted(names).index(name) for name in names]
assert [natural[name] for name in names] == list(range(12))
PYTHON
