"""A published encoder as the initialisation of the classifiers that were fine-tuned from it."""

from torch import Tensor

from soup.weights import Incompatible, LazyWeights, Weights, specs
from soup.weights.mapping import shapes
from soup.weights.remedies import encoder_prefix


class Encoder(LazyWeights):
    """An initialisation under the names of a model, whose own tensors stand where it has none.

    Attributes:
        lacks: the names of those tensors: a new head, or one of another number of classes.
    """

    def __init__(self, base: Weights, model: Weights) -> None:
        """
        Raises:
            Incompatible: the model does not hold the tensors of the base.
        """
        wanted = shapes(model)
        prefix = encoder_prefix(shapes(base), wanted)
        if prefix is None:
            raise Incompatible("the models do not hold the tensors of the base")
        renamed = {prefix + name: name for name in base}
        self._of_base = {
            name: renamed[name]
            for name, shape in wanted.items()
            if name in renamed and tuple(base[renamed[name]].shape) == shape
        }
        self._base, self._model, self.specs = base, model, specs(model)
        self.lacks = tuple(name for name in wanted if name not in self._of_base)

    def __getitem__(self, name: str) -> Tensor:
        if name in self._of_base:
            return self._base[self._of_base[name]]
        return self._model[name]
