#!/usr/bin/env bash
# torchvision 0.29.2 (torch 2.15.0): a 16-bit image that is converted to float32 and back has black in
# the place of white.
#
# v2.ToDtype(torch.uint16, scale=True) multiplies by 65535.999, so as to cut off rather than round.
# float32 has no such number below 65536, and 1.0 becomes 65536, which wraps round to 0. So a white margin
# or an overblown part of a 16-bit PNG turns black, without a word; 127 of the other values come back one
# too large. The conversions that may overflow are documented to raise an error (float32 to int32 or int64),
# and this one is not among them. The same of float16 and 8 bits is known (pytorch/vision#6799); we found
# no report of float32, the type that 16-bit images are usually converted to. Expected: white, as with
# float64, and as with 8 bits. To go through float64 avoids it.
#
# Seen (a PNG with each of the 65,536 values once, there and back):
#   float32: 65408 values as they were, 127 larger by 1, 65535 is 0
#   float64: 65536 values as they were, 0 larger by 1, 65535 is 65535
set -euo pipefail
PYTHON=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$PYTHON" -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check \
    torch==2.15.0 torchvision==0.29.2 pillow==13.0.0 numpy==2.4.6 2>/dev/null
environment/bin/python - 2>/dev/null <<'PYTHON' | tee seen
import numpy as np
import torch
from PIL import Image
from torchvision import io
from torchvision.transforms import v2

every = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
Image.fromarray(every).save("every.png")
image = io.decode_image("every.png", mode=io.ImageReadMode.UNCHANGED)
assert image.dtype == torch.uint16 and np.array_equal(image[0].numpy(), every)
for dtype in (torch.float32, torch.float64):
    there_and_back = v2.Compose(
        [v2.ToDtype(dtype, scale=True), v2.ToDtype(torch.uint16, scale=True)]
    )
    back = there_and_back(image)[0].numpy().astype(int)
    change = back - every.astype(int)
    print(
        f"{str(dtype).removeprefix('torch.')}: {(change == 0).sum()} values as they were, "
        f"{(change == 1).sum()} larger by 1, 65535 is {back[-1, -1]}"
    )
PYTHON
diff - seen <<'EXPECTED'
float32: 65408 values as they were, 127 larger by 1, 65535 is 0
float64: 65536 values as they were, 0 larger by 1, 65535 is 65535
EXPECTED
