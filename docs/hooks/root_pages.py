"""What makes the files of the repository pages of the site, as they are.

Some pages lie outside docs/, and GitHub reads lists where MkDocs wants an empty line before.
"""

import posixpath
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# A file of the repository, and its page of the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "infra/README.md": "services.md",
}
SOURCES = {page: source for source, page in PAGES.items()}
BEFORE_A_LIST = re.compile(r"^(?![-|#\s]|\d+\. )(.*\S)\n(?=(?:- |\d+\. )\S)", re.MULTILINE)
FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    root = config.config_file_path.rpartition("/")[0]
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=f"{root}/{source}"))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn links between files into links between pages, and set lists apart."""
    here = page.file.src_uri
    folder = posixpath.dirname(SOURCES.get(here, f"docs/{here}"))

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        place = PAGES.get(target, target.removeprefix("docs/"))
        return f"]({posixpath.relpath(place, posixpath.dirname(here) or '.')}{match[2] or ''})"

    parts = FENCED.split(LINK.sub(moved, markdown))
    parts[::2] = [BEFORE_A_LIST.sub(r"\1\n\n", text) for text in parts[::2]]
    return "".join(parts)
