"""What is said where pretrained weights cannot be fetched: what to get elsewhere, and where to."""

from collections.abc import Mapping
from typing import Any

from soup.models.architecture import ModelError


def cannot_fetch(
    model: str, tag: str, where: Mapping[str, Any], error: BaseException
) -> ModelError:
    """
    Args:
        where: 'hf_hub' (a repository, with a slash and a file after it or none) or 'url'.
        error: why it failed.
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
