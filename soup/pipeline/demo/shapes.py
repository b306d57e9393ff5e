"""The embedded world: small pictures of shapes with textures, drawn from a seed.

Upstream, a picture holds one of nine shapes with one of six textures, as a photo, a sketch or a
rendition. Downstream, the classes are twenty of the pairs, trained on photos alone; each shift
then changes one thing, in the manner of the paper's five: `v2` (the same process, a bit harder),
`sketch`, `r` (renditions), `objectnet` (odd poses and clutter), `a` (what a reference gets wrong).

Image `i` of a split depends on (seed, split, i) only. A counter-based generator jumps to it, and
pixels are made by IEEE basic operations alone, which round alike on every machine; what is left to
a platform's libm is one sine and cosine per image.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from soup.cores import cores

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
_Field = NDArray[np.floating]  # float32, in every case


def _norm(u: _Field, v: _Field) -> _Field:
    return np.sqrt(u * u + v * v)


def _wave(x: _Field) -> _Field:
    """A sine's likeness of period 1 and range [-1, 1], from two parabolas."""
    x = 2 * (x - np.floor(x)) - 1
    return 4 * x * (np.abs(x) - 1)


# Of a shape of radius 1 at (u, v): negative inside it, and about the distance to its edge.
_OUTLINES: Mapping[str, Callable[[_Field, _Field], _Field]] = {
    "ring": lambda u, v: abs(_norm(u, v) - 0.66) - 0.24,
    "square": lambda u, v: np.maximum(abs(u), abs(v)) - 0.76,
    "triangle": lambda u, v: np.maximum(v, 0.866 * abs(u) - 0.5 * v) - 0.5,
    "cross": lambda u, v: np.maximum(
        np.maximum(abs(u), abs(v)) - 0.92, np.minimum(abs(u), abs(v)) - 0.3
    ),
    "star": lambda u, v: 0.8 * (np.sqrt(abs(u)) + np.sqrt(abs(v)) - 1.1),
    "disc": lambda u, v: _norm(u, v) - 0.85,
    "crescent": lambda u, v: np.maximum(_norm(u, v) - 0.9, 0.75 - _norm(u - 0.45, v)),
    "half": lambda u, v: np.maximum(_norm(u, v) - 0.95, 0.15 - v),
    "bowtie": lambda u, v: np.maximum(abs(u) - 0.85, 0.8 * (abs(v) - 0.9 * abs(u) - 0.08)),
}
# How much of its second colour a texture shows, from -1 to 1; (u, v) count its periods.
_WEAVES: Mapping[str, Callable[[_Field, _Field], _Field]] = {
    "solid": lambda u, _: np.full_like(u, -1),
    "stripes": lambda u, _: 3 * _wave(u),
    "checks": lambda u, v: 4 * _wave(u) * _wave(v),
    "dots": lambda u, v: 3 * (_wave(u) + _wave(v)) - 1.5,
    "ripples": lambda u, v: 3 * _wave(_norm(u, v)),
    "ramp": lambda u, _: 0.8 * u,
}
SHAPES, TEXTURES = tuple(_OUTLINES), tuple(_WEAVES)
CLASSES = tuple(f"{shape}-{texture}" for shape in SHAPES[:5] for texture in TEXTURES[:4])

PHOTO, SKETCH, RENDITION = range(3)
SIDE = 32
_UNIFORMS = 96  # 64-bit words per image for its nuisances; a multiple of 4, Philox's block
_WORDS = _UNIFORMS + SIDE * SIDE * 3 // 8  # and one byte of noise for each value of the image
_CHUNK = 64  # images drawn together: their fields stay in a core's cache


@dataclass(frozen=True)
class Process:
    """How a split's images come about. Lengths are in half-images, angles in turns."""

    style: int = PHOTO
    turn: float = 0.1  # rotation, up to this either way
    shear: float = 0.2
    drift: float = 0.15  # offset from the centre, up to this either way
    radius: tuple[float, float] = (0.55, 0.85)
    clutter: float = 0.25  # probability of each of four blobs behind the object
    occluder: float = 0.2  # probability of a bar in front of it
    contrast: tuple[float, float] = (0.35, 0.75)  # between a texture's two colours
    noise: float = 0.18  # half-width of the noise, where 1 is white


_UPSTREAM = Process(turn=0.2, noise=0.14)
_DOWNSTREAM = Process()
SPLITS: Mapping[str, Process] = {
    "train": _DOWNSTREAM,
    "test": _DOWNSTREAM,
    "v2": replace(_DOWNSTREAM, noise=0.22, contrast=(0.3, 0.65), occluder=0.3, clutter=0.35),
    "sketch": replace(_DOWNSTREAM, style=SKETCH),
    "r": replace(_DOWNSTREAM, style=RENDITION),
    "objectnet": replace(_DOWNSTREAM, turn=0.25, shear=0.4, drift=0.35, clutter=0.5),
    "a": _DOWNSTREAM,
}


def upstream(seed: int, n: int) -> tuple[Images, Labels, Labels, NDArray[np.float32]]:
    """The set to pretrain on: images (n, 32, 32, 3), shape (n,), texture (n,), colour (n, 3).

    60% are photos, 15% sketches, 25% renditions. The colour is the object's first one, in [0, 1].
    """
    images = np.empty((n, SIDE, SIDE, 3), np.uint8)
    factors = np.empty((n, 2), np.int64)
    colours = np.empty((n, 3), np.float32)

    def draw(at: slice, uniforms: NDArray[np.float64], noise: Images) -> None:
        draws = _Draws(uniforms)
        shape, texture = draws.below(len(SHAPES)), draws.below(len(TEXTURES))
        style = np.searchsorted([0.6, 0.75], draws.below(20) / 20, side="right")
        images[at], colours[at] = _picture(draws, noise, shape, texture, style, _UPSTREAM)
        factors[at] = np.stack([shape, texture], axis=1)

    _in_chunks(draw, seed, "upstream", 0, n)
    return images, factors[:, 0], factors[:, 1], colours


def render(seed: int, split: str, start: int, count: int) -> tuple[Images, Labels]:
    """Images `start` to `start + count` of a split: (count, 32, 32, 3), and labels (count,).

    Labels go round the classes, so every prefix is balanced. Split `a` gives its candidates.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; the splits are {', '.join(SPLITS)}")
    process = SPLITS[split]
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    labels = np.arange(start, start + count) % len(CLASSES)

    def draw(at: slice, uniforms: NDArray[np.float64], noise: Images) -> None:
        shape, texture = np.divmod(labels[at], 4)
        style = np.full(len(shape), process.style)
        images[at], _ = _picture(_Draws(uniforms), noise, shape, texture, style, process)

    _in_chunks(draw, seed, split, start, count)
    return images, labels


def _in_chunks(
    draw: Callable[[slice, NDArray[np.float64], Images], None],
    seed: int,
    split: str,
    start: int,
    count: int,
) -> None:
    """Draw `count` images, a chunk in each thread at a time.

    Args:
        draw: gets the slice of a chunk, uniforms (n, 96), and bytes of noise (n, 32, 32, 3).
    """
    key = np.array([seed, zlib.crc32(split.encode())], np.uint64)

    def chunk(first: int) -> None:
        n = min(_CHUNK, count - first)
        stream = np.random.Philox(key=key).advance((start + first) * _WORDS // 4)
        words = stream.random_raw(n * _WORDS).reshape(n, _WORDS)
        noise = words[:, _UNIFORMS:].astype("<u8").view(np.uint8).reshape(n, SIDE, SIDE, 3)
        uniforms = (words[:, :_UNIFORMS] >> np.uint64(11)).astype(np.float64) * 2.0**-53
        draw(slice(first, first + n), uniforms, noise)

    with ThreadPoolExecutor(cores()) as threads:
        for _ in threads.map(chunk, range(0, count, _CHUNK)):
            pass  # which raises what was raised there


class _Draws:
    """Hands out the columns of a table of uniforms (n, columns) in order."""

    def __init__(self, uniforms: NDArray[np.float64]) -> None:
        self._columns: Iterator[NDArray[np.float64]] = iter(uniforms.T)

    def below(self, stop: int) -> Labels:
        """Integers (n,) in [0, stop)."""
        return (next(self._columns) * stop).astype(np.int64)

    def between(self, low: float, high: float) -> _Field:
        """Numbers (n, 1, 1) in [low, high), to meet fields (n, 32, 32)."""
        return (low + (high - low) * next(self._columns)).astype(np.float32)[:, None, None]

    def chance(self, probability: float) -> _Field:
        """1 with this probability, else 0: (n, 1, 1)."""
        return (next(self._columns) < probability).astype(np.float32)[:, None, None]

    def colour(self, low: float, high: float) -> _Field:
        """Colours (n, 3, 1, 1)."""
        return np.stack([self.between(low, high) for _ in range(3)], axis=1)


_X = (2 * np.arange(SIDE, dtype=np.float32) + 1 - SIDE) / SIDE  # pixel centres, in half-images
_Y = _X[:, None]


def _cover(distance: _Field) -> _Field:
    """How much of a pixel lies inside, given the signed distance to the edge in half-images."""
    return np.clip(0.5 - distance * np.float32(SIDE / 2), 0, 1)


def _picture(
    draws: _Draws, noise: Images, shape: Labels, texture: Labels, style: Labels, process: Process
) -> tuple[Images, _Field]:
    """Images (n, 32, 32, 3) and the objects' first colours (n, 3)."""
    radius = draws.between(*process.radius)
    angle = 2 * np.pi * draws.between(-process.turn, process.turn).astype(np.float64)
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    x = _X - draws.between(-process.drift, process.drift)
    y = _Y - draws.between(-process.drift, process.drift)
    u, v = (cos * x + sin * y) / radius, (cos * y - sin * x) / radius
    u = u + draws.between(-process.shear, process.shear) * v
    pitch = radius * draws.between(1.5, 2.2)
    p, q = pitch * u + draws.between(0, 1), pitch * v + draws.between(0, 1)
    body: _Field = np.empty_like(u)
    weave: _Field = np.empty_like(u)
    for kind in np.unique(shape):
        its = shape == kind
        body[its] = _OUTLINES[SHAPES[kind]](u[its], v[its])
    for kind in np.unique(texture):
        its = texture == kind
        weave[its] = np.clip(0.5 + 0.5 * _WEAVES[TEXTURES[kind]](p[its], q[its]), 0, 1)
    body = _cover(body * radius)

    # Colours are in planes, (n, 3, 32, 32): NumPy is slow where the last axis has three values.
    first = draws.colour(0, 1)
    step = draws.colour(*process.contrast)
    fabric = first + np.where(first < 0.5, step, -step) * weave[:, None]
    scene = np.broadcast_to(draws.colour(0.1, 0.9), fabric.shape)
    for _ in range(2):
        swell = _wave(draws.between(-0.8, 0.8) * _X + draws.between(-0.8, 0.8) * _Y)
        scene = scene + draws.colour(-0.15, 0.15) * swell[:, None]
    for _ in range(4):
        a, b = _X - draws.between(-1, 1), _Y - draws.between(-1, 1)
        size = draws.between(0.08, 0.3) * draws.chance(process.clutter)
        _paint(scene, draws.colour(0, 1), _norm(a, b), size)
    scene = scene + body[:, None] * (fabric - scene)
    slope, offset = draws.between(-1, 1), draws.between(-0.5, 0.5)
    width = draws.between(0.05, 0.14) * draws.chance(process.occluder)
    _paint(scene, draws.colour(0, 1), np.abs(_X + slope * _Y - offset), width)
    light = 1 + draws.between(-0.3, 0.3) * _X + draws.between(-0.3, 0.3) * _Y
    scene = scene * light[:, None]

    def lines(on: NDArray[np.bool_]) -> _Field:
        return _edges(body[on] * (0.4 + 0.6 * weave[on]))[:, None]

    paper, ink = draws.colour(0.8, 1), draws.between(0.5, 0.9)[:, None]
    drawn, look, level = style == SKETCH, draws.below(4), draws.between(0.35, 0.65)[:, None]
    scene[drawn] = paper[drawn] - ink[drawn] * lines(drawn)
    poster, inked, cartoon, mosaic = ((style == RENDITION) & (look == kind) for kind in range(4))
    scene[poster] = np.floor(2.999 * np.clip(scene[poster], 0, 0.999)) / 2
    ground, pen = draws.colour(0.5, 1), draws.colour(0, 0.5)
    red, green, blue = (scene[inked, plane, None] for plane in range(3))
    grey = red * 0.3 + green * 0.5 + blue * 0.2
    scene[inked] = np.where(grey > level[inked], ground[inked], pen[inked])
    scene[cartoon] = scene[cartoon] * (1 - lines(cartoon))
    tiles = scene[mosaic]
    tiles = (tiles[:, :, ::2, ::2] + tiles[:, :, 1::2, 1::2]) / 2
    scene[mosaic] = tiles.repeat(2, axis=2).repeat(2, axis=3)

    grain = process.noise * (noise.astype(np.float32) * np.float32(2 / 255) - 1)
    grain[style != PHOTO] *= 0.5
    grain += scene.transpose(0, 2, 3, 1)
    return np.rint(255 * np.clip(grain, 0, 1)).astype(np.uint8), first[:, :, 0, 0]


def _paint(scene: _Field, colour: _Field, distance: _Field, size: _Field) -> None:
    """Paint what lies within `size` in front of scenes (n, 3, 32, 32), in place.

    Args:
        colour: (n, 3, 1, 1).
        distance: (n, 32, 32), from the middle of what is painted.
        size: (n, 1, 1); 0 where there is nothing to paint.
    """
    on = size[:, 0, 0] > 0
    cover = _cover(distance[on] - size[on])[:, None]
    scene[on] += cover * (colour[on] - scene[on])


def _edges(field: _Field) -> _Field:
    """How fast a field (n, 32, 32) changes towards the next pixels, clipped to 1."""
    across = np.diff(field, axis=2, append=field[:, :, -1:])
    down = np.diff(field, axis=1, append=field[:, -1:])
    return np.clip(1.5 * _norm(across, down), 0, 1)
