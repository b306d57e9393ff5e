"""The error for pretrained weights that cannot be fetched, with what to download by hand."""

from collections.abc import Mapping
from typing import Any

from soup.models.architecture import ModelError


def cannot_fetch(
    model: str, tag: str, where: Mapping[str, Any], error: BaseException
) -> ModelError:
    """The error for weights that cannot be fetched, to be raised by the caller.

    Args:
        model: its name.
        tag: of the pretrained weights.
        where: 'hf_hub' (REPOSITORY/ or REPOSITORY/FILE) or 'url' -> where the weights are.
        error: the error of the failed download.
    """
    page, _, file = str(where.get("hf_hub", "")).removeprefix("hf-hub:").rpartition("/")
    reason = str(error).strip().split("\n")[0][:300]
    if page:
        get = (
            f"run `hf download {page}{f' {file}' if file else ''}` (the model page {page} of the "
            "Hugging Face hub) and copy the hub's cache, ~/.cache/huggingface or what HF_HOME "
            "names, to the same place here"
        )
    else:
        get = f"download {where.get('url', 'the weights')}"
    return ModelError(
        f"cannot fetch the weights {tag!r} of {model} ({type(error).__name__}: {reason}). On a "
        f"machine that can reach them, {get}; or copy the weights' file and name it: "
        "base.weights: FILE"
    )
