#!/bin/sh
# timm 1.0.31's RandAugment raises an error for some pictures under Pillow 13.0.0 at magnitudes that
# it documents as valid: its Posterize keeps int(magnitude / 10 * 4) bits, which is 0 below 2.5, and
# with inc1 keeps 4 minus that, which is 0 at 10. Pillow 12.3.0 made a black image of 0 bits; Pillow
# 13 refuses it. Whether a picture meets Posterize is drawn at random, so training stops somewhere
# in an epoch. The common policy rand-m9-mstd0.5-inc1 reaches 10 by its noise.
#
# Output seen (errors of 5,000 pictures, by policy and Pillow):
#   12.3.0 rand-m2-n2 0
#   12.3.0 rand-m9-mstd0.5-inc1 0
#   13.0.0 rand-m2-n2 358
#   13.0.0 rand-m9-mstd0.5-inc1 12
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/count.py" <<'PYTHON'
import importlib.util, pathlib, random, sys

import numpy as np
import PIL
from PIL import Image

# The file alone: the package timm imports torch, which this does not need.
(site,) = [p for p in map(pathlib.Path, sys.path) if (p / "timm/data/auto_augment.py").is_file()]
spec = importlib.util.spec_from_file_location("auto_augment", site / "timm/data/auto_augment.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))
for policy in ("rand-m2-n2", "rand-m9-mstd0.5-inc1"):
    transform, errors = module.rand_augment_transform(policy, {"translate_const": 3}), 0
    for seed in range(5000):
        random.seed(seed)
        np.random.seed(seed)
        try:
            transform(picture)
        except ValueError:
            errors += 1
    print(PIL.__version__, policy, errors)
PYTHON
for pillow in 12.3.0 13.0.0; do
    python3 -m venv "$folder/$pillow"
    "$folder/$pillow/bin/pip" install -q --no-deps timm==1.0.31 "pillow==$pillow" numpy==2.4.6
    "$folder/$pillow/bin/python" "$folder/count.py"
done | tee "$folder/seen"
diff - "$folder/seen" <<'EXPECTED'
12.3.0 rand-m2-n2 0
12.3.0 rand-m9-mstd0.5-inc1 0
13.0.0 rand-m2-n2 358
13.0.0 rand-m9-mstd0.5-inc1 12
EXPECTED
