"""A checkpoint seen through choices: under other names, without some tensors, with those of others.

The names of tensors that wrappers changed, and the tensors that a user leaves out or takes from one
model, are settled here, before models are compared: every merge then sees plain models.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from soup.weights.checkpoint import Checkpoint
from soup.weights.mapping import Reader, Spec
from soup.weights.wrappers import unwrap

Tensors = Mapping[str, tuple[Checkpoint, str]]


class View(Checkpoint):
    """A checkpoint whose tensors are those of others, each read from where it is."""

    def __init__(self, model: Checkpoint, tensors: Tensors) -> None:
        """
        Args:
            model: whose files, metadata and digest the view has.
            tensors: name in the view -> the checkpoint that has the tensor, and its name there.
        """
        self.model, self.path, self.files = model, model.path, model.files
        self.metadata = model.metadata
        self._tensors = dict(sorted(tensors.items()))
        first: dict[tuple[int, str], str] = {}
        specs: dict[str, Spec] = {}
        for name, (checkpoint, stored) in self._tensors.items():
            spec = checkpoint.specs[stored]
            specs[name] = spec._replace(tied=first.setdefault((id(checkpoint), spec.tied), name))
        self.specs = specs

    def __getitem__(self, name: str) -> Tensor:
        checkpoint, stored = self._tensors[name]
        return checkpoint[stored]

    def reader(self, name: str) -> Reader:
        checkpoint, stored = self._tensors[name]
        return checkpoint.reader(stored)

    def read_into(self, out: Tensor, name: str) -> None:
        checkpoint, stored = self._tensors[name]
        checkpoint.read_into(out, stored)

    def digest(self) -> str:
        return self.model.digest()

    def require_unchanged(self) -> None:
        models = (self.model, *(checkpoint for checkpoint, _ in self._tensors.values()))
        for model in {id(model): model for model in models}.values():
            model.require_unchanged()


def without_wrappers(models: Sequence[Checkpoint]) -> tuple[list[Checkpoint], dict[str, str]]:
    """Models under the names that they have without wrappers, if they differ by those alone.

    Names are left as they are if all models have the same, and if models differ in other ways or in
    the shape of a tensor: then nothing says which part of a name is a wrapper.

    Returns:
        The models, and the wrappers of each that had some, by its path.
    """
    if all(model.specs.keys() == models[0].specs.keys() for model in models):
        return [*models], {}
    bare = [unwrap(model) for model in models]
    shapes = [
        {names[old]: spec.shape for old, spec in model.specs.items()}
        for (names, _), model in zip(bare, models, strict=True)
    ]
    if any(other != shapes[0] for other in shapes):
        return [*models], {}
    views: list[Checkpoint] = [
        View(model, {new: (model, old) for old, new in names.items()}) if removed else model
        for (names, removed), model in zip(bare, models, strict=True)
    ]
    removed_of = zip(models, bare, strict=True)
    return views, {model.path: ", ".join(removed) for model, (_, removed) in removed_of if removed}
