#!/bin/sh
# Pillow 13.0.0 cannot read a compressed TIFF through its own TarIO (or ContainerIO, its view of a
# part of a file): Image.open gives the right size and mode, since it reads the header through the
# view, but to decode it hands the file descriptor of the whole archive to libtiff, which starts at
# the archive's first byte and finds no TIFF. An uncompressed TIFF in the same archive is read right.
#
# Output seen, beside libtiff's own "Not a TIFF or MDI file, bad magic number":
#   raw True
#   tiff_lzw OSError decoder error -2
#   tiff_adobe_deflate OSError decoder error -2
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pillow==13.0.0
"$folder/venv/bin/python" - "$folder/pictures.tar" <<'PYTHON' | tee "$folder/seen"
import io, random, sys, tarfile

from PIL import Image, TarIO

picture = Image.frombytes("RGB", (64, 64), random.Random(0).randbytes(64 * 64 * 3))
kinds = ("raw", "tiff_lzw", "tiff_adobe_deflate")
with tarfile.open(sys.argv[1], "w") as tar:
    for kind in kinds:
        encoded = io.BytesIO()
        picture.save(encoded, "TIFF", compression=kind)
        member = tarfile.TarInfo(f"{kind}.tif")
        member.size = encoded.tell()
        encoded.seek(0)
        assert Image.open(encoded).tobytes() == picture.tobytes()  # it is a sound file
        encoded.seek(0)
        tar.addfile(member, encoded)
for kind in kinds:
    with TarIO.TarIO(sys.argv[1], f"{kind}.tif") as member:
        opened = Image.open(member)
        assert (opened.size, opened.mode) == ((64, 64), "RGB")
        try:
            print(kind, opened.tobytes() == picture.tobytes())
        except OSError as error:
            print(kind, "OSError", error)
PYTHON
diff - "$folder/seen" <<'EXPECTED'
raw True
tiff_lzw OSError decoder error -2
tiff_adobe_deflate OSError decoder error -2
EXPECTED
