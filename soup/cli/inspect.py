"""soup inspect: can these models be averaged?"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soup.cli.model_options import ModelOptions, tell_input, with_model
from soup.cli.options import (
    CALIBRATION_IMAGES,
    Base,
    CalibrationImages,
    Device,
    Heldout,
    Json,
    Models,
    Recalibrate,
    devices,
)

if TYPE_CHECKING:
    from soup.cli.checkpoints import Pool
    from soup.evaluation.diagnosis.barrier import Line
    from soup.evaluation.diagnosis.geometry import Geometry, Group, Relation
    from soup.evaluation.evaluator import Evaluator
    from soup.weights.checkpoint import Checkpoint

MOST = 16  # models in a table of pairs


@with_model
def inspect(
    models: Models,
    model: ModelOptions,
    base: Base = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG",
            help="Draw the distances and angles between the models to this file; with --heldout, "
            "also the errors between two models, to PNG-lines. Needs matplotlib.",
        ),
    ] = None,
    heldout: Heldout = None,
    recalibrate: Recalibrate = None,
    calibration_images: CalibrationImages = CALIBRATION_IMAGES,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Check whether models can be averaged: files, shapes, common base, distances.

    soup inspect --base BASE A B C

    It exits with 1 if a model does not share its initialisation with the others. With --heldout,
    it also counts held-out errors on the straight line from the first model to each other one; if
    the models have BatchNorm, with its statistics recomputed too, on --recalibrate or held-out.
    """
    from soup.cli.checkpoints import open_origin, open_pool, require_alike, warn_of_merge
    from soup.cli.terminal import print_json, table, warn
    from soup.evaluation.diagnosis import weight_causes
    from soup.evaluation.diagnosis.geometry import kinship, measure
    from soup.weights.mapping import Incompatible

    chosen = devices(device)
    pool = open_pool(models, base)
    files = [_facts(name, pool) for name in pool.checkpoints]
    if not as_json:
        columns = ["model", ">tensors", ">parameters", "dtypes", "SHA-256", "says of itself"]
        table("files", columns, [tuple(facts.values()) for facts in files])
    try:
        require_alike(pool)
        origin, digest = (None, "") if base is None else open_origin(base, pool)
    except Incompatible as error:
        if as_json:
            print_json({"files": files, "averageable": False, "problems": str(error).split("\n")})
        raise
    geometry = measure(pool.checkpoints, origin)
    bases = {n: c.metadata["base"] for n, c in pool.checkpoints.items() if "base" in c.metadata}
    relations = kinship(geometry, bases | ({"the base": digest} if digest else {}))
    problems = _not_finite(pool, geometry)
    shared = not problems and all(relation.verdict == "shared" for relation in relations)
    names = [relation.name for relation in relations]
    batchnorm = weight_causes.batchnorm([*pool.checkpoints.values()])
    lines: dict[tuple[str, str], Line] = {}
    averaged: dict[tuple[str, str], Line] = {}
    if heldout is not None:
        from soup.cli.heldout_folder import open_evaluator, recalibration_on

        first = next(iter(pool.checkpoints.values()))
        evaluator = open_evaluator(
            heldout, model, first, chosen, tell=partial(tell_input, pool.checkpoints)
        )
        lines = _lines(pool.checkpoints, names, evaluator)
        statistics = recalibration_on(
            recalibrate, calibration_images, evaluator, [*pool.checkpoints.values()]
        )
        if statistics is not None:
            recomputed = replace(evaluator, recalibration=statistics)
            lines, averaged = _lines(pool.checkpoints, names, recomputed), lines
    if plot is not None:
        _draw(plot, geometry, lines)
    if as_json:
        from numpy import nan_to_num

        distances = geometry["backbone"].distances
        print_json(
            {
                "files": files,
                "averageable": shared,
                "problems": problems,
                # JSON has no NaN and no infinity: null or -1 in their place.
                "kinship": [
                    {
                        k: v if not isinstance(v, float) or math.isfinite(v) else None
                        for k, v in relation._asdict().items()
                    }
                    for relation in relations
                ],
                "distances": nan_to_num(distances, nan=-1, posinf=-1).tolist(),
                "lines": {" to ".join(ends): line.costs.tolist() for ends, line in lines.items()},
                "lines_averaged": {
                    " to ".join(ends): line.costs.tolist() for ends, line in averaged.items()
                },
                "batchnorm": [finding._asdict() for finding in batchnorm],
            }
        )
    else:
        _show(geometry["backbone"], relations, pool, lines, averaged)
        warn_of_merge(pool)
        for message in (*problems, *(f"{cause.summary}; {cause.remedy}" for cause in batchnorm)):
            warn(message)
    if not shared:
        sys.exit(1)


def _not_finite(pool: "Pool", geometry: "Mapping[Group, Geometry]") -> list[str]:
    """The tensors whose numbers have no mean, as 'soup cook' refuses them."""
    import numpy as np

    from soup.weights import NotFinite, average

    if np.isfinite(geometry["all"].products).all():
        return []
    merged, problems = average([*pool.checkpoints.values()]), []
    for name in merged:
        try:
            _ = merged[name]
        except NotFinite as error:
            problems += str(error).splitlines()[:-1]  # the last is the advice
    return problems


def _lines(
    checkpoints: "Mapping[str, Checkpoint]", names: Sequence[str], evaluator: "Evaluator"
) -> "dict[tuple[str, str], Line]":
    """Held-out errors on the straight lines from the first of the names to each of the others."""
    from soup.cli.terminal import progress
    from soup.evaluation.diagnosis.barrier import POINTS, line

    start, *ends = names
    lines = {}
    total, unit = len(ends) * POINTS * len(evaluator), evaluator.architecture.unit
    with progress("walking between models", total, unit) as advance:
        judge = replace(evaluator, advance=advance).judges()[0]
        for end in ends:
            lines[start, end] = line(checkpoints[start], checkpoints[end], judge)
    return lines


def _facts(name: str, pool: "Pool") -> dict[str, object]:
    from soup.weights.kinds import averaged

    checkpoint = pool.checkpoints[name]
    stored = [spec for n, spec in checkpoint.specs.items() if spec.tied == n]
    dtypes = sorted({str(spec.dtype).removeprefix("torch.") for spec in stored})
    numbers = [spec for spec in stored if averaged(spec.dtype)]
    notes = [f"{key} {checkpoint.metadata[key][:24]}" for key in ("recipe", "lr", "layout")
             if key in checkpoint.metadata]  # fmt: skip
    return {
        "model": name,
        "tensors": len(checkpoint),
        "parameters": f"{sum(math.prod(spec.shape) for spec in numbers):,}",
        "dtypes": " ".join(dtypes),
        "sha256": pool.digests[name][:12],
        "notes": ", ".join(notes),
    }


def _show(
    backbone: "Geometry",
    relations: "Sequence[Relation]",
    pool: "Pool",
    lines: "Mapping[tuple[str, str], Line]",
    averaged: "Mapping[tuple[str, str], Line]",
) -> None:
    from soup.cli.terminal import say, table, warn

    if backbone.from_base is None:
        from_base = [""] * len(relations)
    else:
        from_base = [f"{distance:.3g}" for distance in backbone.from_base]
    rows = [
        (
            relation.name,
            f"{length:.4g}",
            distance,
            f"{relation.cosine:.3f}",
            f"{relation.relative:.2g}",
            relation.verdict + (", verified" if relation.verified else ""),
        )
        for relation, length, distance in zip(relations, backbone.norms, from_base, strict=True)
    ]
    columns = ["model", ">length", ">from the base", f">cosine with {relations[0].reference}"]
    table("where they lie, by their backbones", [*columns, ">relative distance", "basin"], rows)
    if len(relations) <= MOST:
        values, what, form = backbone.relative, "relative distances", ".2g"
        if backbone.angles is not None:
            values, what, form = backbone.angles, "angles at the base, degrees", ".0f"
        cells = [
            (name, *(format(float(value), form) for value in row[: len(relations)]))
            for name, row in zip(backbone.names, values, strict=False)
        ]
        table(what, ["", *(f">{name}" for name in backbone.names)], cells)
    for (start, end), line in lines.items():
        barrier = f"a barrier of {line.barrier:.3g} held-out errors"
        if (start, end) in averaged:
            before = averaged[start, end].barrier
            barrier += f" with recomputed BatchNorm statistics, {before:.3g} with averaged ones"
        say(f"from {start} to {end}: {barrier}")
    for names in pool.twice:
        warn(f"{' and '.join(names)} are the same model")
    for relation in relations:
        if relation.verdict != "shared":
            warn(str(relation))


def _draw(
    plot: Path,
    geometry: "Mapping[Group, Geometry]",
    lines: "Mapping[tuple[str, str], Line]",
) -> None:
    """Write the heat maps, and the held-out errors between models beside them, as PNG files."""
    from soup.cli.terminal import say
    from soup.evaluation.diagnosis.figures import crossings, positions
    from soup.files import atomic_write
    from soup.report.figures import png

    figures = {plot: positions(geometry["backbone"])}
    if lines:
        figures[plot.with_name(f"{plot.stem}-lines{plot.suffix}")] = crossings(lines)
    for path, figure in figures.items():
        with atomic_write(path) as aside:
            aside.write_bytes(png(figure))
        say(f"drawn: {path}")
