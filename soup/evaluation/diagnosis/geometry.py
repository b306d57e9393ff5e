"""Where models lie: distances, cosines, angles at the base, and who shares a basin with whom.

Wortsman et al., "Model soups", ICML 2022 (arXiv 2203.05482), section 2: all ingredients share one
initialisation. Frankle et al., "Linear mode connectivity and the lottery ticket hypothesis", ICML
2020 (arXiv 1912.05671): without it there is a barrier.

What the thresholds stand on: a small convolutional net (pictures of shapes) and an MLP (blobs),
pretrained twice, fine-tuned with AdamW at learning rates from 1e-4 to 3e-2, pairs that differ in
seed or rate. Cosines of the tensors of 2 or more dimensions, head left out, and barriers in points:

    shared base, rates up to 3e-3         cosine 0.90 to 1.00   barrier 0.0 to 0.6
    shared base, a rate of 1e-2           cosine 0.81 to 0.83   barrier 0.0 to 0.6 (MLP)
                                          cosine 0.47 to 0.63   barrier 9 to 44 (net; half diverged)
    shared base, a rate of 3e-2           cosine 0.23 to 0.51   barrier 16 to 60, or both are dead
    shared base, head fresh in each       cosine 0.90 to 1.00   barrier 0.0 to 17; heads' cosine
                                          0.01 to 0.34, where a shared head keeps 0.85 and more
    another base, or none                 cosine under 0.04     barrier 22 to 59

Over all tensors the cosine of unrelated models is 0.3 to 0.5, for the gains of normalisation
layers are all near 1. Unrelated models lie 1.39 to 1.42 relative distances apart (the square root
of 2), and seen from one of them two others are at 55 to 60 degrees, as in an equilateral triangle:
which is why the cosine with the base at zero tells them, and not the angle at the base.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from soup.evaluation.diagnosis.heads import guess_head
from soup.weights import Weights, gram, specs

Matrix = NDArray[np.float64]
Group = Literal["all", "backbone", "head"]

UNRELATED = 0.15
FAR = 0.7
# Relative distance under which float64 inner products cannot tell two models apart.
SAME = 1e-6


@dataclass(frozen=True)
class Geometry:
    """Models as points, over one group of tensors.

    Attributes:
        names: the K models.
        based: whether the base was given.
        products: (K, K) inner products about zero; with the base as one more row if there is one.
        tensors: those of the group.
    """

    names: tuple[str, ...]
    based: bool
    products: Matrix
    tensors: tuple[str, ...]

    @property
    def _squares(self) -> Matrix:
        """Squared distances, (K, K) or with the base; what is rounding is 0."""
        own = np.diag(self.products)
        with np.errstate(invalid="ignore"):
            squares = own[:, None] + own - 2 * self.products
        same = squares <= SAME**2 * (own[:, None] + own) / 2
        return np.where(same, 0.0, squares)

    @property
    def norms(self) -> Matrix:
        """(K,) lengths of the models."""
        return np.sqrt(np.diag(self.products))[: len(self.names)]

    @property
    def distances(self) -> Matrix:
        """(K, K) lengths of the differences."""
        k = len(self.names)
        return np.sqrt(self._squares[:k, :k])

    @property
    def from_base(self) -> Matrix | None:
        """(K,) distances to the base; None without one."""
        return np.sqrt(self._squares[:-1, -1]) if self.based else None

    @property
    def cosines(self) -> Matrix:
        """(K, K) between the models as vectors from zero; with the base as one more row."""
        lengths = np.sqrt(np.diag(self.products))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.clip(self.products / lengths[:, None] / lengths, -1, 1)

    @property
    def relative(self) -> Matrix:
        """(K, K) |a - b| / sqrt(|a| |b|); with the base as one more row."""
        lengths = np.sqrt(np.diag(self.products))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sqrt(self._squares) / np.sqrt(lengths[:, None] * lengths)

    @property
    def angles(self) -> Matrix | None:
        """(K, K) degrees between the models seen from the base; None without one.

        NaN for a model that is the base itself.
        """
        if not self.based:
            return None
        squares = self._squares
        about = (squares[:-1, -1:] + squares[-1, :-1] - squares[:-1, :-1]) / 2
        lengths = np.sqrt(np.diag(about))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.degrees(np.arccos(np.clip(about / lengths[:, None] / lengths, -1, 1)))

    def twice(self) -> list[tuple[str, str]]:
        """Pairs of models that are one: no further apart than rounding."""
        rows, columns = np.nonzero(np.triu(self.distances == 0, k=1))
        return [(self.names[i], self.names[j]) for i, j in zip(rows, columns, strict=True)]


def measure(
    models: Mapping[str, Weights], base: Weights | None = None, head: Sequence[str] | None = None
) -> dict[Group, Geometry]:
    """Where models lie, from one pass over their tensors.

    Args:
        models: by name; of the same tensor names and shapes.
        base: their initialisation, if it is at hand.
        head: names of the classifier's tensors; a guess from the names by default.

    Returns:
        "all" tensors; "backbone": of two dimensions and more, and not in the head (if there are
        none, whatever is not in the head); "head", if there is one.

    Raises:
        Incompatible: names or shapes differ.
    """
    if not models:
        return {}
    points = [*models.values()] + ([] if base is None else [base])
    known = specs(points[0])
    heads = set(guess_head(known) if head is None else head)
    products = {name: product.numpy() for name, product in gram(points).items()}
    body = [name for name in products if name not in heads]
    groups: dict[Group, list[str]] = {
        "all": [*products],
        "backbone": [n for n in body if len(known[n].shape) >= 2] or body or [*products],
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
    """Whether a model can be averaged with the others, and the numbers that say so.

    Attributes:
        verdict: "shared": in the basin of the reference; "far": from there, but trained so far that
            a barrier is likely; "unrelated": from another initialisation; "broken": not finite.
        reference: the base if it was given, else the model nearest to all.
        verified: the digest of its initialisation is the reference's.
        cosine: with the reference, over the backbone.
        relative: its relative distance to the reference.
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
    """A verdict on each model, by its backbone.

    Args:
        geometry: as `measure` gives it.
        digests: of the initialisation of each model, where its metadata tell; of the base given,
            under "the base". A digest is evidence beside the numbers, never instead of them: a
            base of the same digest was left behind by a training that was too hot, and bases that
            differ in their head alone differ in digest.
    """
    if not geometry:
        return []
    backbone, known = geometry["backbone"], digests or {}
    cosines, relative = backbone.cosines, backbone.relative
    finite = np.isfinite(cosines)
    closeness = np.where(finite, cosines, 0).sum(axis=1)
    at = len(backbone.names) if backbone.based else int(closeness.argmax())
    reference = "the base" if backbone.based else backbone.names[at]
    found = []
    for index, name in enumerate(backbone.names):
        cosine = float(cosines[index, at])
        verified = name in known and known[name] == known.get(reference)
        verdict: Literal["shared", "far", "unrelated", "broken"] = "shared"
        if not np.isfinite(cosine):
            verdict = "broken"
        elif cosine < FAR:
            verdict = "far" if cosine >= UNRELATED or verified else "unrelated"
        found.append(
            Relation(name, verdict, reference, verified, cosine, float(relative[index, at]))
        )
    return found
