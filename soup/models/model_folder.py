"""A model's folder: its description, and what its own library needs to open the folder.

The weights, `model.safetensors`, are under the name that timm and transformers look for, so they
are written once. This project reads `model.json` alone; the libraries do not look at it.
"""

from pathlib import Path

from soup.files import write_text
from soup.models.architecture import DESCRIPTION_FILE, Architecture


def write_description(architecture: Architecture, folder: Path) -> None:
    """Write model.json and, of a model of timm or transformers, its library's configuration.

    open_clip opens whole CLIPs alone, which `soup.models.clip_folder` writes.

    Raises:
        ModelError: a description may not hold this, or the library does not know the model.
    """
    architecture.save(folder / DESCRIPTION_FILE)
    if architecture.library == "timm":
        from soup.models.timm_config import library_files

        for name, content in library_files(architecture).items():
            write_text(folder / name, content)
