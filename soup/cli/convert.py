"""soup import: other formats, converted once."""

from dataclasses import asdict
from pathlib import Path

from soup.cli.terminal import print_json, say, warn
from soup.errors import some
from soup.models.conversion import convert as converted


def convert(
    source: str, out: Path, ema: bool, key: str | None, model: str | None, as_json: bool
) -> None:
    """Convert, and say what was found and what was left out."""
    found = converted(source, out, ema=ema, key=key, model=model)
    if found.others and not key:
        warn(f"{source} holds other weights too, reached by --key: {', '.join(found.others)}")
    if as_json:
        print_json(asdict(found))
        return
    kinds = ", ".join(f"{count} {dtype}" for dtype, count in found.dtypes.items())
    where = f", from {found.key!r}" if found.key else ""
    say(f"[bold]{found.path}[/]  {found.layout}{where}: {kinds}, {found.size / 1e6:.1f} MB")
    for what, names in (("prefixes stripped", found.stripped), ("left out", found.dropped)):
        if names:
            say(f"  {what}: {some(names, 6, last=' ')}")
    if found.renamed:
        old, new = next(iter(found.renamed.items()))
        say(f"  {len(found.renamed)} renamed, such as {old} to {new}")
