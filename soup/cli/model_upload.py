"""What of a model folder is published on the Hugging Face hub, and its upload."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from soup.errors import BadInput, Failure, missing_extra
from soup.models.licence import CARD_FILE
from soup.models.published_files import CONFIGS, is_published

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


class Plan(NamedTuple):
    """What will be uploaded.

    Attributes:
        files: path in the folder -> bytes.
        left_out: paths of other files.
    """

    files: Mapping[str, int]
    left_out: Sequence[str]

    @property
    def has_card(self) -> bool:
        """Whether a model card is among the files."""
        return CARD_FILE in self.files

    @property
    def has_config(self) -> bool:
        """Whether a library finds its configuration among the files."""
        return bool(CONFIGS & self.files.keys())


def planned(folder: Path, name: str) -> Plan:
    """The files of a folder that are published.

    Raises:
        BadInput: there is no such folder, it has no weights in safetensors, or the name is none.
    """
    problems = []
    if not NAME.fullmatch(name):
        problems.append(f"{name[:200]!r} is no name of a repository: give OWNER/NAME")
    if not folder.is_dir():
        problems.append(f"{folder} is no folder: give the folder of a model")
        raise BadInput("\n".join(problems))
    files, left_out = {}, []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).as_posix()
        if path.is_dir() and not path.is_symlink():
            continue
        if is_published(inside) and path.is_file() and not path.is_symlink():
            files[inside] = path.stat().st_size
        else:
            left_out.append(inside)
    if not any(file.endswith(".safetensors") for file in files):
        problems.append(f"{folder} has no weights (*.safetensors): convert them by 'soup import'")
    if problems:
        raise BadInput("\n".join(problems))
    return Plan(files, left_out)


def upload(
    folder: Path,
    plan: Plan,
    name: str,
    private: bool,
    revision: str | None,
    message: str,
    card: str | None,
) -> str:
    """Make the repository if it is not there, and commit the files; the address of its page.

    Args:
        card: the text of a model card that is uploaded beside the files.

    Raises:
        BadInput: there is no token, or huggingface_hub is not installed.
        Failure: the hub refuses, or does not answer; nothing is committed.
    """
    try:
        from huggingface_hub import CommitOperationAdd, HfApi, get_token
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    except ModuleNotFoundError as error:
        raise BadInput(f"soup push needs {missing_extra(error)}") from None
    if not get_token():
        raise BadInput("there is no token for the hub: run 'hf auth login', or set HF_TOKEN")
    api: Any = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="modelsoup")
    additions = [CommitOperationAdd(file, str(folder / file)) for file in plan.files]
    if card is not None:
        additions.append(CommitOperationAdd(CARD_FILE, card.encode()))
    try:
        api.create_repo(name, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        api.create_commit(name, additions, commit_message=message, revision=revision)
    except HfHubHTTPError as error:
        raise Failure(f"{api.endpoint} refuses {name}: {_reason(error)}") from None
    except OfflineModeIsEnabled:
        raise BadInput("the hub is not asked while HF_HUB_OFFLINE is set: unset it") from None
    except Exception as error:  # the hub's library raises many kinds; all mean the same here
        told = " ".join(str(error.__cause__ or error).split())[:300]
        reason = f"{type(error).__name__}: {told}"
        raise Failure(
            f"{api.endpoint} does not take {name}, nothing is committed: {reason}; try again"
        ) from None
    return f"{api.endpoint}/{name}" + (f"/tree/{revision}" if revision else "")


def _reason(error: Any) -> str:
    """The hub's reason in one line, with what to do."""
    status = int(getattr(error.response, "status_code", 0))
    remedy = {
        401: "; the token is not known there: run 'hf auth login', or set HF_TOKEN",
        403: "; the token may not write there: make one that may, or give another OWNER",
        404: "; there is no such repository, or the token may not see it",
    }
    told = " ".join((getattr(error, "server_message", None) or str(error)).split())[:300]
    return f"{told} (HTTP {status}){remedy.get(status, '')}"
