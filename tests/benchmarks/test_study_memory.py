"""How many models each study holds in memory: the tensors that are alive at once are counted."""

import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from soup.config.studies import StudyOptions
from soup.config.study_names import STUDIES
from soup.studies import study_of

FINE_TUNES = 6
SMALL = {"embed_dim": 32, "num_heads": 2, "depth": 3, "patch_size": 4}
# The network of the passes, and the part of a model that is read or computed at once. Of two
# sweeps each has a network. Training holds four: weights, gradients, the two moments of AdamW.
LIMITS = dict.fromkeys(STUDIES, 2.0) | {"weak-pretraining": 3.0, "distillation": 4.75}


class Alive(TorchDispatchMode):
    """Counts the bytes of all tensors that operators made and that are alive.

    Attributes:
        bytes, most: now, and the most at once. Tensors over a mapped file are not counted: the
            system can take their pages back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.most = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        new = [made for made in _storages(result) if id(made) not in self._known]
        given = {id(storage) for storage in _storages((args, kwargs))} if new else set()
        for storage in new:
            if id(storage) not in given:
                self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()

        def freed(_reference: object) -> None:
            del self._known[key]
            self.bytes -= size

        self._known[key] = weakref.ref(storage, freed)
        self.bytes += size
        self.most = max(self.most, self.bytes)


def _storages(values: Any) -> list[torch.UntypedStorage]:
    """Those of all tensors in lists and dicts; torch's own walk takes half of the tests' time."""
    if isinstance(values, Tensor):
        return [values.untyped_storage()]
    if isinstance(values, dict):
        values = values.values()
    elif not isinstance(values, list | tuple):
        return []
    return [storage for value in values for storage in _storages(value)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Operators of other threads are not seen."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_what_is_alive_is_counted_once_and_until_it_is_freed() -> None:
    with Alive() as alive:
        first = torch.zeros(1000)
        first.view(10, 100).add_(1)
        second = first + 1
        del first
        assert (alive.bytes, alive.most) == (4000, 8000)
        del second
    assert alive.bytes == 0


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_holds_fewer_models_than_the_limit(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import study_memory

    monkeypatch.setattr(study_memory, "OTHERS", 3)
    monkeypatch.setattr("soup.weights.algebra.CHUNK", 1 << 10)  # parts of these tiny tensors
    options = study_memory.OPTIONS[name] | ({"pairs": 10} if name == "angle" else {})
    with Alive() as alive:
        bench = study_memory.bench(tmp_path, name, 4, FINE_TUNES, **SMALL)
        study_of(name).run(bench, StudyOptions.model_validate(options))
    model = sum(tensor.nbytes for tensor in bench.models["probe"].weights.values())
    assert 1 <= alive.most / model < LIMITS[name]
