"""soup explain: why the soup does not help."""

from dataclasses import replace
from functools import partial

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


@with_model
def explain(
    models: Models,
    model: ModelOptions,
    base: Base = None,
    heldout: Heldout = None,
    recalibrate: Recalibrate = None,
    calibration_images: CalibrationImages = CALIBRATION_IMAGES,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Explain why averaging does not help: the causes found, with numbers and remedies.

    soup explain --base BASE --model timm:NAME --heldout FOLDER A B C

    It tells why a greedy soup keeps one model alone, or why the uniform soup is worse than the best
    model. The strongest cause comes first. Barriers and noise are only seen with --heldout. If the
    models have BatchNorm, averages are judged with recomputed statistics, without --recalibrate
    recomputed on the held-out images, since nothing is chosen here.
    """
    from rich.text import Text

    from soup.cli.checkpoints import open_origin, open_pool, require_alike
    from soup.cli.heldout_folder import logits_of, open_evaluator, recalibration_on
    from soup.cli.terminal import bold, print_json, progress, say, tell_left_out, warn
    from soup.errors import BadInput
    from soup.evaluation.diagnosis.explain import explain as causes_of
    from soup.evaluation.diagnosis.low_scores import Answers, low_scores, recorded
    from soup.evaluation.metrics import Correct, correct, predicted
    from soup.weights import Weights

    chosen = devices(device)
    pool = open_pool(models, base)
    require_alike(pool)
    origin, digest = (None, "") if base is None else open_origin(base, pool)
    metadata = {name: dict(weights.metadata) for name, weights in pool.checkpoints.items()}
    if digest:
        metadata["the base"] = {"base": digest}
    answers, recomputed = None, None
    names = {id(checkpoint): name for name, checkpoint in pool.checkpoints.items()}
    said: dict[str, Answers] = {}
    if heldout is None:
        warn("without --heldout FOLDER only the weights speak: barriers and noise stay unknown")
    else:
        first = next(iter(pool.checkpoints.values()))
        tell = partial(tell_input, pool.checkpoints)
        evaluator = open_evaluator(heldout, model, first, chosen, as_json=as_json, tell=tell)
        tell_left_out(evaluator.skipped)
        if evaluator.predicts_numbers:
            raise BadInput(
                f"{first.path} predicts numbers, and --heldout explains errors of classifiers: "
                "leave it out, and the weights alone are compared"
            )

        def answers(weights: Weights) -> Correct:
            name = names.get(id(weights), "")
            unit = evaluator.architecture.unit
            with progress(name or "an average", len(evaluator), unit) as advance:
                watched = replace(evaluator, advance=advance)
                logits = (
                    logits_of(watched, pool.checkpoints[name], pool.digests[name])
                    if name
                    else watched.logits(weights)
                )
            if name:
                said[name] = Answers(predicted(logits), recorded(metadata[name]))
            return correct(logits, evaluator.examples.labels)

        statistics = recalibration_on(
            recalibrate, calibration_images, evaluator, [*pool.checkpoints.values()]
        )
        if statistics is not None:
            evaluator = replace(evaluator, recalibration=statistics)

            def recomputed(weights: Weights) -> Correct:
                return answers(evaluator.recalibrated(weights))

    findings = causes_of(pool.checkpoints, origin, answers, metadata, recomputed)
    if heldout is not None:
        for line in low_scores(said, evaluator.examples.labels, evaluator.architecture.classes):
            warn(line)
    if as_json:
        print_json([finding._asdict() for finding in findings])
        return
    for number, finding in enumerate(findings, start=1):
        say(bold(f"{number}. {finding.kind}"), "", finding.summary)
        if finding.remedy:
            say(Text(f"   → {finding.remedy}", "dim"))
