"""Distances, cosines and angles between models, and which models share a basin of the loss.

Wortsman et al., "Model soups", ICML 2022 (arXiv 2203.05482), section 2: all ingredients share one
initialisation. Frankle et al., "Linear mode connectivity and the lottery ticket hypothesis", ICML
2020 (arXiv 1912.05671): models without a shared initialisation have a barrier between them.

The thresholds come from a small convolutional net (pictures of shapes) and an MLP (blobs), each
pretrained twice and fine-tuned with AdamW at learning rates from 1e-4 to 3e-2; the models of a pair
differ in seed or rate. Cosines are over tensors of 2 or more dimensions without the head; barriers
are in percentage points:

    shared base, rates up to 3e-3         cosine 0.90 to 1.00   barrier 0.0 to 0.6
    shared base, a rate of 1e-2           cosine 0.81 to 0.83   barrier 0.0 to 0.6 (MLP)
                                          cosine 0.47 to 0.63   barrier 9 to 44 (net; half diverged)
    shared base, a rate of 3e-2           cosine 0.23 to 0.51   barrier 16 to 60, or both are dead
    shared base, head fresh in each       cosine 0.90 to 1.00   barrier 0.0 to 17; heads' cosine
                                          0.01 to 0.34, where a shared head keeps 0.85 and more
    another base, or none                 cosine under 0.04     barrier 22 to 59

Over all tensors the cosine of unrelated models is 0.3 to 0.5, because the scales of normalisation
layers are all near 1. Unrelated models have relative distances of 1.39 to 1.42 (the square root of
2), and an angle of 55 to 60 degrees when seen from a third one, as in an equilateral triangle. The
angle at the base therefore does not tell unrelated models apart; the cosine with the base does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from soup.evaluation.diagnosis.base import Encoder
from soup.evaluation.diagnosis.heads import guess_head
from soup.weights import Weights, gram, specs

Matrix = NDArray[np.float64]
Group = Literal["all", "backbone", "head"]

UNRELATED = 0.15  # cosine below which two models have different initialisations
FAR = 0.7  # cosine below which a barrier is likely
# Below this relative distance, float64 inner products cannot tell two models apart.
SAME = 1e-6


@dataclass(frozen=True)
class Geometry:
    """Models as points, over one group of tensors.

    Attributes:
        names: the K models.
        based: whether a base was given; it is then the last row and column of `products`.
        products: (K, K) or (K + 1, K + 1) inner products of the models as vectors.
        tensors: names of the tensors in the group.
    """

    names: tuple[str, ...]
    based: bool
    products: Matrix
    tensors: tuple[str, ...]

    @property
    def _squares(self) -> Matrix:
        """Squared distances, of the shape of `products`; 0 where only rounding is left."""
        norms = np.diag(self.products)
        with np.errstate(invalid="ignore"):
            squares = norms[:, None] + norms - 2 * self.products
        same = squares <= SAME**2 * (norms[:, None] + norms) / 2
        return np.where(same, 0.0, squares)

    @property
    def norms(self) -> Matrix:
        """(K,) Euclidean norms of the models."""
        return np.sqrt(np.diag(self.products))[: len(self.names)]

    @property
    def distances(self) -> Matrix:
        """(K, K) Euclidean distances between the models."""
        k = len(self.names)
        return np.sqrt(self._squares[:k, :k])

    @property
    def from_base(self) -> Matrix | None:
        """(K,) Euclidean distances to the base; None without a base."""
        return np.sqrt(self._squares[:-1, -1]) if self.based else None

    @property
    def cosines(self) -> Matrix:
        """Cosines between the models as vectors from the origin, of the shape of `products`."""
        lengths = np.sqrt(np.diag(self.products))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.clip(self.products / lengths[:, None] / lengths, -1, 1)

    @property
    def relative(self) -> Matrix:
        """Relative distances |a - b| / sqrt(|a| |b|), of the shape of `products`."""
        lengths = np.sqrt(np.diag(self.products))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sqrt(self._squares) / np.sqrt(lengths[:, None] * lengths)

    @property
    def angles(self) -> Matrix | None:
        """(K, K) angles between the models as seen from the base, in degrees; None without a base.

        NaN for a model that is equal to the base.
        """
        if not self.based:
            return None
        squares = self._squares
        about = (squares[:-1, -1:] + squares[-1, :-1] - squares[:-1, :-1]) / 2
        lengths = np.sqrt(np.diag(about))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.degrees(np.arccos(np.clip(about / lengths[:, None] / lengths, -1, 1)))

    def twice(self) -> list[tuple[str, str]]:
        """The pairs of models that are the same model, up to rounding."""
        rows, columns = np.nonzero(np.triu(self.distances == 0, k=1))
        return [(self.names[i], self.names[j]) for i, j in zip(rows, columns, strict=True)]


def measure(models: Mapping[str, Weights], base: Weights | None = None) -> dict[Group, Geometry]:
    """The geometry of models, from one pass over their tensors.

    Args:
        models: name -> weights, one or more; all have the same tensor names and shapes.
        base: the initialisation of the models, if it is available; of an `Encoder` without a head,
            what it lacks is no part of the backbone.

    Returns:
        Group of tensors -> geometry. "all": every tensor. "backbone": the tensors outside the head
        with at least two dimensions, or all outside the head if there are none. "head": the
        classifier, guessed from the names; absent if there is none.

    Raises:
        Incompatible: names or shapes differ.
    """
    points = [*models.values()] + ([] if base is None else [base])
    shapes = specs(points[0])
    heads = set(guess_head(shapes))
    unknown = set(base.lacks) if isinstance(base, Encoder) else set()
    products = {name: product.numpy() for name, product in gram(points).items()}
    body = [name for name in products if name not in heads | unknown]
    groups: dict[Group, list[str]] = {
        "all": [*products],
        "backbone": [n for n in body if len(shapes[n].shape) >= 2] or body or [*products],
        "head": [name for name in products if name in heads],
    }
    empty = np.zeros((len(points), len(points)))
    return {
        group: Geometry(
            tuple(models),
            base is not None,
            np.sum([products[name] for name in members], axis=0) if members else empty,
            tuple(members),
        )
        for group, members in groups.items()
        if members or group != "head"
    }


class Relation(NamedTuple):
    """Whether a model can be averaged with the others, and the numbers that show it.

    Attributes:
        name: of the model.
        verdict: "shared": the model lies in the basin of the reference. "far": it has the same
            initialisation, but training moved it so far that a barrier is likely. "unrelated": it
            has another initialisation. "broken": its weights are not finite, or all are zero.
        reference: "the base" if a base was given, else the model with the highest mean cosine.
        verified: whether the digest of its initialisation equals that of the reference.
        cosine: with the reference, over the backbone.
        relative: distance to the reference, over the backbone, relative to the two norms.
    """

    name: str
    verdict: Literal["shared", "far", "unrelated", "broken"]
    reference: str
    verified: bool
    cosine: float
    relative: float

    def __str__(self) -> str:
        numbers = f"cosine {self.cosine:z.3f}, relative distance {self.relative:.2g}"
        how = "verified by its digest; " if self.verified else ""
        match self.verdict:
            case "broken":
                return f"{self.name} has weights that are NaN, infinite or all zero"
            case "unrelated":
                return (
                    f"{self.name} does not share its initialisation with {self.reference}: "
                    f"{how}{numbers}, where independent trainings have about 0 and 1.41"
                )
            case "far":
                return f"{self.name} was trained far away from {self.reference}: {how}{numbers}"
        return f"{self.name} shares a basin with {self.reference}: {how}{numbers}"


def kinship(
    geometry: Mapping[Group, Geometry], digests: Mapping[str, str] | None = None
) -> list[Relation]:
    """The relation of each model to the reference, judged by the backbone.

    Args:
        geometry: the result of `measure`.
        digests: name of a model -> digest of its initialisation, where its metadata have it; "the
            base" -> digest of the base given. Digests never replace the numbers: a model can leave
            the basin of its verified base, and two bases that differ in the head alone have
            different digests.
    """
    backbone, digest_of = geometry["backbone"], digests or {}
    cosines, relative = backbone.cosines, backbone.relative
    finite = np.isfinite(cosines)
    closeness = np.where(finite, cosines, 0).sum(axis=1)
    row = len(backbone.names) if backbone.based else int(closeness.argmax())
    reference = "the base" if backbone.based else backbone.names[row]
    relations = []
    for index, name in enumerate(backbone.names):
        cosine = float(cosines[index, row])
        verified = name in digest_of and digest_of[name] == digest_of.get(reference)
        verdict: Literal["shared", "far", "unrelated", "broken"] = "shared"
        if not np.isfinite(cosine):
            verdict = "broken"
        elif cosine < FAR:
            verdict = "far" if cosine >= UNRELATED or verified else "unrelated"
        distance = float(relative[index, row])
        relations.append(Relation(name, verdict, reference, verified, cosine, distance))
    return relations
