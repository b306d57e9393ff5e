"""soup inspect: can these models be averaged?"""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from soup.cli.checkpoints import Pool, open_base, open_pool, require_alike
from soup.cli.heldout_folder import open_evaluator
from soup.cli.terminal import print_json, progress, say, table, warn
from soup.evaluation.diagnosis.barrier import Line, line
from soup.evaluation.diagnosis.geometry import Geometry, Group, Relation, kinship, measure
from soup.files import atomic_write
from soup.weights.mapping import Incompatible

Lines = Mapping[tuple[str, str], Line]
MOST = 16  # models in a table of pairs


def inspect(
    models: Sequence[str],
    base: str | None,
    plot: Path | None,
    model: str | None,
    heldout: Path | None,
    devices: Sequence[str],
    as_json: bool,
) -> None:
    """Files first, then names and shapes, then where the models lie; exits with 1 on a no."""
    with progress("reading", len(models)) as advance:
        pool = open_pool(models, advance)
    files = [_facts(name, pool) for name in pool.checkpoints]
    if not as_json:
        columns = ["model", ">tensors", ">parameters", "dtypes", "SHA-256", "says of itself"]
        table("files", columns, [tuple(each.values()) for each in files])
    try:
        require_alike(pool)
        origin = None if base is None else open_base(base, pool)
    except Incompatible as error:
        if as_json:
            print_json({"files": files, "averageable": False, "problems": str(error).split("\n")})
        raise
    geometry = measure(pool.checkpoints, origin)
    bases = {n: c.metadata["base"] for n, c in pool.checkpoints.items() if "base" in c.metadata}
    kin = kinship(geometry, bases | ({"the base": origin.digest()} if origin else {}))
    shared = all(one.verdict == "shared" for one in kin)
    lines: dict[tuple[str, str], Line] = {}
    if heldout is not None:
        first = next(iter(pool.checkpoints.values()))
        exam = open_evaluator(heldout, model, first, devices)
        judge, nearest = exam.judges()[0], kin[0].name
        with progress("walking between models", len(kin) - 1) as advance:
            for other in [one.name for one in kin[1:]]:
                ends = pool.checkpoints[nearest], pool.checkpoints[other]
                lines[nearest, other] = line(*ends, judge)
                advance()
    if plot is not None:
        _draw(plot, geometry, lines)
    backbone = geometry["backbone"]
    if as_json:
        print_json(
            {
                "files": files,
                "averageable": shared,
                "kinship": [one._asdict() for one in kin],
                "distances": np.nan_to_num(backbone.distances, nan=-1, posinf=-1).tolist(),
                "lines": {" to ".join(k): v.costs.tolist() for k, v in lines.items()},
            }
        )
    else:
        _show(geometry, kin, pool, lines)
    if not shared:
        sys.exit(1)


def _facts(name: str, pool: Pool) -> dict[str, object]:
    checkpoint = pool.checkpoints[name]
    stored = [spec for n, spec in checkpoint.specs.items() if spec.tied == n]
    dtypes = sorted({str(spec.dtype).removeprefix("torch.") for spec in stored})
    notes = [f"{key} {checkpoint.metadata[key][:24]}" for key in ("recipe", "lr", "layout")
             if key in checkpoint.metadata]  # fmt: skip
    return {
        "model": name,
        "tensors": len(checkpoint),
        "parameters": f"{sum(math.prod(s.shape) for s in stored if s.dtype.is_floating_point):,}",
        "dtypes": " ".join(dtypes),
        "sha256": pool.digests[name][:12],
        "notes": ", ".join(notes),
    }


def _show(
    geometry: Mapping[Group, Geometry], kin: Sequence[Relation], pool: Pool, lines: Lines
) -> None:
    backbone = geometry["backbone"]
    away = [None] * len(kin) if backbone.from_base is None else backbone.from_base.tolist()
    rows = [
        (
            one.name,
            f"{length:.4g}",
            "" if distance is None else f"{distance:.3g}",
            f"{one.cosine:.3f}",
            f"{one.relative:.2g}",
            one.verdict + (", verified" if one.verified else ""),
        )
        for one, length, distance in zip(kin, backbone.norms, away, strict=True)
    ]
    columns = ["model", ">length", ">from the base", f">cosine with {kin[0].reference}"]
    table("where they lie, by their backbones", [*columns, ">relative distance", "basin"], rows)
    if len(kin) <= MOST:
        angles = backbone.angles
        values, what, form = backbone.relative, "relative distances", ".2g"
        if angles is not None:
            values, what, form = angles, "angles at the base, degrees", ".0f"
        cells = [
            (name, *(format(float(value), form) for value in row[: len(kin)]))
            for name, row in zip(backbone.names, values, strict=False)
        ]
        table(what, ["", *(f">{name}" for name in backbone.names)], cells)
    for (start, end), found in lines.items():
        say(f"from {start} to {end}: a barrier of {found.barrier:.3g} held-out errors")
    for names in pool.twice:
        warn(f"{' and '.join(names)} are the same model")
    for one in kin:
        if one.verdict != "shared":
            warn(str(one))


def _draw(plot: Path, geometry: Mapping[Group, Geometry], lines: Lines) -> None:
    """The heat maps, and the crossings beside them, each a PNG."""
    from soup.evaluation.diagnosis.figures import crossings, positions
    from soup.report import png

    drawn = {plot: positions(geometry["backbone"])}
    if lines:
        drawn[plot.with_name(f"{plot.stem}-lines{plot.suffix}")] = crossings(lines)
    for path, figure in drawn.items():
        with atomic_write(path) as aside:
            aside.write_bytes(png(figure))
        say(f"drawn: {path}")
