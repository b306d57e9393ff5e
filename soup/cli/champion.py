"""soup champion: which registered version is in use, how it came to be, how to change it."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Never

import typer

from soup.cli.options import Json, Verb, Verbs
from soup.errors import BadInput, Failure

if TYPE_CHECKING:
    from soup.config.params import Params
    from soup.evaluation.promotion_gate import Decision
    from soup.tracking import Registry, Version

PARAMS = Path("params.yaml")
CACHE = Path(".cache/soup/registry")
HELP = """Show or change the champion: the registered version that is in use.

Of a registered model, 'challenger' is the newest version, 'champion' the one in use, 'previous' the
champion before. A version is promoted if it makes fewer errors than the champion on the same
held-out examples (or has the higher score, if it was chosen by a score such as Matthews); every
promotion, refusal, roll-back and copy is kept with who, when and why."""
EPILOG = (
    "The registry is MLFLOW_TRACKING_URI, or mlflow.db of the project in this folder; the model is "
    "that of its params.yaml. MODELSOUP_ACTOR says who acts, else user@host. "
    "Exit codes: 0 done; 1 refused or failed; 2 bad input."
)

champion = typer.Typer(
    name="champion",
    cls=Verbs,
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Name = Annotated[
    str | None, typer.Option("--model", "-m", metavar="NAME", help="The registered model.")
]
Uri = Annotated[
    str | None, typer.Option("--registry", metavar="URI", help="MLflow's server or database.")
]
Which = Annotated[str, typer.Argument(help="A version's number, or an alias.", metavar="VERSION")]


class NotPromoted(Failure, RuntimeError):
    """The gate refused; the message has the figures."""


@champion.command(cls=Verb, epilog=EPILOG)
def show(model: Name = None, registry: Uri = None, as_json: Json = False) -> None:
    """List the versions with their results, and what was done to them."""
    from soup import tracking
    from soup.cli.champion_table import facts_of, row_of, sentence_of
    from soup.cli.terminal import print_json, table

    store, name = opened(model, registry)
    versions = tracking.versions(store, name)
    aliases = tracking.aliases(store, name)
    events = tracking.history(store, name)
    facts = [facts_of(version, aliases) for version in versions]
    if as_json:
        print_json(
            {
                "model": name,
                "registry": store.uri,
                "aliases": aliases,
                "versions": facts,
                "history": [vars(event) for event in events],
            }
        )
        return
    heldout = ">held-out" if any("score" in version for version in facts) else ">held-out errors"
    figures = [heldout, ">test, %", ">test gain"]
    columns = ["version", "is", *figures, "recipe", "of", "commit"]
    table(f"{name} in {store.uri}", columns, [row_of(version) for version in facts])
    if events:
        rows = [(e.when[:19].replace("T", " "), e.who, sentence_of(e), e.why) for e in events]
        table("history", ["when (UTC)", "who", "what", "why"], rows)


@champion.command(cls=Verb, epilog=EPILOG)
def promote(
    version: Which = "challenger",
    model: Name = None,
    registry: Uri = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Promote whatever the figures are; needs --why."),
    ] = False,
    why: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A reason, kept beside the figures.")
    ] = None,
    largest_p: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=0,
            max=1,
            help="Promote only if the paired test (exact McNemar of errors, by permutation of a "
            "score) gives this p or less. [default: that of params.yaml, else 1]",
        ),
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option(
            metavar="KEY",
            help="A private key (PEM): sign the version if it is promoted, or is the champion "
            "already. 'soup serve --verify' asks for the signature.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Promote a version if it makes fewer errors than the champion.

    Both are compared on the held-out examples. A version that was chosen by another score, such as
    Matthews, must have the higher score.

    soup champion promote --sign private.pem

    soup champion promote 7 --force --why "the champion was trained on mislabelled images"
    """
    from soup import tracking
    from soup.cli.terminal import bold, print_json, say
    from soup.evaluation.number_scores import MEASURE
    from soup.evaluation.promotion_gate import Decision, scored
    from soup.evaluation.score_gate import decide_from_tags

    if force and not why:
        raise BadInput("--force goes past the gate: say why, with --why")
    store, name = opened(model, registry)
    if largest_p is None:
        largest_p = _params().registry.largest_p if model is None else 1.0
    candidate = tracking.version(store, name, version)
    signature = _signature(store, candidate, sign) if sign else ""

    def unknown() -> Never:
        raise BadInput(
            f"{candidate} and the champion were not scored on the same held-out examples; to score "
            "both, run 'python -m flows register' in the project, or promote with --force --why"
        )

    def judge(holder: "Version | None") -> "Decision":
        if force:
            return Decision(holder is None or holder.number != candidate.number, f"by hand: {why}")
        rolled_back = tracking.rolled_back(store, candidate)
        if holder is not None and MEASURE in candidate.tags:
            raise BadInput(
                f"{candidate} predicts numbers, and the registry does not hold them: to compare it "
                "with the champion, run 'python -m flows register' in the project, or promote with "
                "--force --why"
            )
        ours = scored(candidate.number, candidate.tags, rolled_back)
        theirs = scored(holder.number, holder.tags) if holder else None
        try:
            decision = decide_from_tags(candidate.tags, ours, theirs, unknown, largest_p)
        except ValueError as error:
            raise BadInput(f"{candidate}: {error}") from None
        reason = f"{decision.reason}; {why}" if why else decision.reason
        return replace(decision, reason=reason)

    def judge_and_sign(holder: "Version | None") -> "Decision":
        """The champion is signed before it is in use."""
        decision = judge(holder)
        if not signature or not decision.promote:
            return decision
        tracking.annotate(store, candidate, {tracking.SIGNATURE: signature})
        return replace(decision, reason=f"{decision.reason}; signed")

    holder = tracking.champion(store, name)
    if signature and holder is not None and holder.number == candidate.number:
        tracking.annotate(store, candidate, {tracking.SIGNATURE: signature})
        decision = Decision(True, "it was before, and is signed now")
    else:
        decision = tracking.promote(store, candidate, judge_and_sign)
    if as_json:
        print_json({"model": name, "version": candidate.number, **vars(decision)})
    if not decision.promote:
        raise NotPromoted(f"{candidate} is not promoted: {decision.reason}")
    if not as_json:
        say(bold(candidate), f"is the champion: {decision.reason}")


@champion.command(cls=Verb, epilog=EPILOG)
def rollback(
    why: Annotated[str, typer.Option(metavar="TEXT", help="A reason, kept with who and when.")],
    to: Annotated[
        str, typer.Option(metavar="VERSION", help="A version's number, or an alias.")
    ] = "previous",
    model: Name = None,
    registry: Uri = None,
    as_json: Json = False,
) -> None:
    """Make the previous champion, or any version, the champion again.

    soup champion rollback --why "wrong on night images"

    A version that was rolled back is only promoted again by --force. A second roll-back undoes the
    first.
    """
    from soup import tracking
    from soup.cli.terminal import bold, print_json, say

    store, name = opened(model, registry)
    event = tracking.roll_back(store, name, why, to)
    if as_json:
        print_json(vars(event))
    else:
        say(
            bold(f"{name} version {event.number}"),
            "is the champion again; version "
            f"{event.champion} is 'previous' and is not promoted again but by hand",
        )


@champion.command(cls=Verb, epilog=EPILOG)
def copy(
    version: Which = "champion",
    to: Annotated[
        str | None,
        typer.Option(
            metavar="URI", help="MLflow's server or database to copy to; by default the same."
        ),
    ] = None,
    as_model: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="The model's name there; by default the same."),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(help="The experiment there for the weights; by default the model's name."),
    ] = None,
    model: Name = None,
    registry: Uri = None,
    as_json: Json = False,
) -> None:
    """Copy a version to another registry or name.

    Every file is checked against its digest.

    soup champion copy --to https://mlflow.production --as shapes

    The version's lineage tags are copied, and the copy names its source. The copy is 'challenger'
    there until it is promoted.
    """
    from soup import tracking
    from soup.cli.terminal import bold, print_json, say

    store, name = opened(model, registry)
    source = tracking.version(store, name, version)
    target_name = as_model or name
    experiment = experiment or target_name
    target = tracking.Store(to or store.uri, experiment, Path("mlruns"))
    copied = tracking.copy(store, source, target, target_name, CACHE)
    if as_json:
        print_json({"model": copied.model, "version": copied.number, "registry": target.uri})
    else:
        say(
            bold(copied),
            f"of {target.uri} is a copy of {source}, every file as it was; "
            "promote it there with 'soup champion promote'",
        )


def opened(model: str | None, uri: str | None) -> "tuple[Registry, str]":
    """The registry and the model's name: as given, or as the project in this folder says.

    Raises:
        BadInput: nothing names the model.
    """
    from soup.tracking import default_uri, registry_at

    if model is None:
        model = _params().registry.model
    return registry_at(uri or default_uri(Path())), model


def _signature(store: "Registry", candidate: "Version", key: Path) -> str:
    """A signature of a version, whose files are fetched and checked first."""
    from soup import tracking
    from soup.files import of_value
    from soup.serving.signatures import sign

    if not key.is_file():
        raise BadInput(f"--sign {key}: there is no such file")
    target = CACHE / of_value([store.uri, candidate.model, candidate.number])
    tracking.fetch(store, candidate, target)
    return sign(target, key, str(candidate))


def _params() -> "Params":
    if not PARAMS.is_file():
        raise BadInput(f"no {PARAMS} in this folder: name the registered model with --model")
    from soup.config.params import load

    return load(PARAMS)
