"""The files of a checkpoint of `torch.distributed` (DCP), known by their names."""

import re
from pathlib import Path

METADATA_FILE = ".metadata"
SUFFIX = ".distcp"
# "shard-00001-model-00001-of-00002.safetensors": a rank's part of the first of two files, in the
# layout for Hugging Face.
HF_SHARD = re.compile(r"shard-(\d{5})-model-(\d{5})-of-(\d{5})\.safetensors")


def parts_of(folder: Path) -> list[Path]:
    """The files of a checkpoint of `torch.distributed`; none for any other folder."""
    shards = sorted(path for path in folder.glob("shard-*") if HF_SHARD.fullmatch(path.name))
    if shards:
        return shards
    parts = sorted(folder.glob(f"*{SUFFIX}"))
    return [folder / METADATA_FILE, *parts] if parts and (folder / METADATA_FILE).is_file() else []
