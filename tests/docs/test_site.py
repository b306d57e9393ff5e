"""The site of docs/: it builds without a warning, and its files load nothing from outside."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.checkouts import REPO

# Of the theme's scripts: what they would load for a diagram of mermaid, for a browser of before
# 2020, and for the figures of a repository on GitHub (no page has the first and the last); and an
# address in a message.
KNOWN = {"mermaid.min.js", "resize-observer-polyfill", "repos", "users", "2s3ChXG"}


class Loads(HTMLParser):
    """Collects the addresses that a page loads when it is opened: all but those of links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if (
            "mermaid" in given.get("class", "").split()
            or given.get("data-md-component") == "source"
        ):
            self.found.append("https://a-diagram-or-a-repository.invalid")
        names = {"src", "srcset", "poster", "data", "style", "xlink:href", "action"}
        if tag in ("link", "use", "image", "base"):
            relations = given.get("rel", "").split()
            names |= set() if {"canonical", "prev", "next"} & {*relations} else {"href"}
        self.found += [given[name] for name in names & given.keys()]


def addresses(text: str) -> list[str]:
    """The hosts and paths of what a style sheet or a script names outside of its own folder."""
    return re.findall(r"(?:https?:)?//[\w.-]+\.\w+/[^\s\"'`)]*", text)


def outside(file: Path) -> Iterator[str]:
    text = file.read_text("utf-8")
    if file.suffix == ".html":
        yield from (found for found in Loads(text).found if urlsplit(found).netloc)
        text = "\n".join(re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL))
    if file.suffix in (".html", ".css"):
        yield from re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\s\"')]+)", text)
    if file.suffix == ".js" and file.name != "search_index.js":  # data, with the links of the pages
        text = re.sub(r"/\*!?.*?\*/|(?:^|\s)//.*?$", "", text, flags=re.DOTALL | re.MULTILINE)
        yield from (
            found for found in addresses(text) if not {*urlsplit(found).path.split("/")} & KNOWN
        )


def test_no_file_of_the_site_loads_anything_from_outside(site: Path) -> None:
    files = [file for file in site.rglob("*") if file.suffix in (".html", ".css", ".js")]
    files = [file for file in files if file.parent.name != "lunr"]  # searches in other languages
    assert len(files) > 30
    found = {str(file.relative_to(site)): [*outside(file)] for file in files}
    assert {name: those for name, those in found.items() if those} == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script src="https://example.com/a.js"></script>'),
        ("a.html", '<img src="//example.com/a.png">'),
        ("a.html", '<link rel="stylesheet" href="https://example.com/a.css">'),
        ("a.html", "<style>@import 'https://example.com/a.css'</style>"),
        ("a.html", '<pre class="mermaid">'),
        ("a.css", "p { background: url(https://example.com/a.png) }"),
        ("a.js", 'fetch("https://example.com/a.json")'),
    ],
)
def test_the_test_above_can_fail(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert [*outside(tmp_path / name)] != []


def test_a_link_is_no_load(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="https://example.com/">there</a>')
    assert [*outside(tmp_path / "a.html")] == []


def test_lists_are_lists(site: Path) -> None:
    for file in site.rglob("*.html"):
        paragraphs = re.findall(r"<p>(.*?)</p>", file.read_text("utf-8"), re.DOTALL)
        assert [text for text in paragraphs if re.search(r"\n(?:- |\d\. )", text)] == [], file


def test_the_search_runs_from_disk_by_our_own_script(site: Path) -> None:
    page = (site / "index.html").read_text()
    assert '<script src="assets/iframe-worker.js">' in page
    assert (site / "search" / "search_index.js").read_text().startswith("var __index = {")


def test_pages_of_the_root_are_pages_of_the_site_and_link_to_each_other(site: Path) -> None:
    home = (site / "index.html").read_text()
    assert 'href="checkpoints.html"' in home
    assert 'href="services.html"' in home
    assert 'src="demo.png"' in home
    assert 'href="index.html"' in (site / "photographs.html").read_text()


def test_the_reference_has_each_verb_and_each_public_name(site: Path) -> None:
    import soup
    from soup.cli.app import VERBS

    commands = (site / "reference" / "commands.html").read_text()
    assert [verb for verb in VERBS if f"Usage: soup {verb} " not in commands] == []
    assert "Usage: soup champion rollback" in commands
    library = (REPO / "docs" / "reference" / "library.md").read_text()
    modules = {
        "RECIPES",
        "Weights",
        "__version__",
        "errors",
        "files",
        "judging",
        "recipes",
        "weights",
    }
    names = {*soup.__all__} - modules
    assert {name for name in names if f".{name}\n" not in library} == set()
