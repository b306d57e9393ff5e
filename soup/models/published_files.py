"""The files of a model folder that its library needs, by name.

They are copied to a soup of such models, and uploaded by `soup push`. None of them is code, and
none is run when it is read.
"""

import re
from pathlib import Path
from shutil import copyfile

from soup.files import atomic_write

# By which a library recognises its folder.
CONFIGS = frozenset({"adapter_config.json", "config.json", "open_clip_config.json", "modules.json"})
# Configurations, preprocessing, tokenizers; sentence-transformers' pooling.
BESIDE = (
    "config.json", "open_clip_config.json", "generation_config.json", "preprocessor_config.json",
    "processor_config.json", "image_processor.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
    "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "chat_template.jinja",
    "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json",
    "1_Pooling/config.json", "2_Normalize/config.json",
)  # fmt: skip
OURS = ("model.json", "adapter_config.json", "README.md", "LICENSE", "LICENSE.txt", "NOTICE")
WEIGHTS = re.compile(r"(?:[\w-]+/)?[\w.-]+\.safetensors(?:\.index\.json)?")
LARGEST = 64 << 20  # bytes of a file that is copied: vocabularies have a few megabytes


def is_published(path: str) -> bool:
    """Whether a file is a part of a model, by its path in the model's folder."""
    return path in BESIDE or path in OURS or WEIGHTS.fullmatch(path) is not None


def copy_beside(source: Path, target: Path) -> list[str]:
    """Copy what a library needs beside the weights, except what the target has already.

    Args:
        source: folder of a model.
        target: folder of a model with other weights of the same architecture.

    Returns:
        The names of the copied files.
    """
    copied = []
    for name in BESIDE:
        file = source / name
        if not file.is_file() or (target / name).exists() or file.stat().st_size > LARGEST:
            continue
        with atomic_write(target / name) as temporary:
            copyfile(file, temporary)
        copied.append(name)
    return copied
