"""soup study --results: studies of a table of results alone, without weights or predictions."""

from pathlib import Path

from soup.errors import BadInput, near


def study_results(name: str, results: Path, out: Path, as_json: bool) -> None:
    """Make a study of a file of results; writes NAME.csv, NAME.svg and NAME.png into a folder.

    Raises:
        BadInput: there is no such study, or the file cannot be used.
    """
    from soup.cli.terminal import print_json, say
    from soup.files import atomic_write, write_text
    from soup.report.figures import png, svg
    from soup.studies.pool_of_results import read
    from soup.studies.published import STUDIES

    if name not in STUDIES:
        raise BadInput(
            f"no study {name!r} of results alone{near(name, STUDIES)}; there are "
            f"{', '.join(STUDIES)} (others need a finished sweep: --params)"
        )
    found = STUDIES[name](read(results))
    files = {suffix: out / f"{name}.{suffix}" for suffix in ("csv", "svg", "png")}
    write_text(files["csv"], found.table.to_csv(index=False, lineterminator="\n"))
    write_text(files["svg"], svg(found.figure) + "\n")
    with atomic_write(files["png"]) as aside:
        aside.write_bytes(png(found.figure))
    written = [str(file) for file in files.values()]
    if as_json:
        print_json({"study": name, "sentence": found.sentence, "files": written})
        return
    say(found.sentence)
    say(", ".join(written))
