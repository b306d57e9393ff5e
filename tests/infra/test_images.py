"""infra/Dockerfile and what goes into it."""

import re
import shlex
import tomllib

import pytest

from tests.checkouts import REPO
from tests.infra.lock import versions

TEXT = (REPO / "infra/Dockerfile").read_text()


def instructions() -> list[tuple[str, str]]:
    """(instruction, the rest), continued lines joined, comments left out."""
    lines = [line for line in TEXT.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (x.partition(" ") for x in joined.splitlines() if x)]


def stages() -> dict[str, list[tuple[str, str]]]:
    """A stage's instructions, those of the stages that it starts from first."""
    found: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for word, rest in instructions():
        if word == "FROM":
            source, name = rest.split(" AS ")
            current = found[name] = [(word, source), *found.get(source, [])]
        else:
            current.append((word, rest))
    return found


def test_every_base_is_pinned_by_digest_and_is_one() -> None:
    outside = {rest.split()[0] for word, rest in instructions() if word == "FROM"} - set(stages())
    assert len(outside) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", outside.pop())
    assert not re.search("^# *syntax=", TEXT, re.MULTILINE)  # a base of the build, by a tag


@pytest.mark.parametrize("image", ["server", "worker", "worker-gpu"])
def test_an_image_runs_as_an_ordinary_user_and_holds_no_tools_that_built_it(image: str) -> None:
    steps = stages()[image]
    last_user = [rest for word, rest in steps if word == "USER"][-1]
    assert last_user == "1000:1000"
    after = steps[[word for word, _ in steps].index("USER") :]
    assert not [word for word, _ in after if word in ("RUN", "COPY", "ADD")]
    assert not [rest for word, rest in steps if word == "RUN" and "pip install" in rest]
    assert any(word == "COPY" and "--from=build-" in rest for word, rest in steps)


def test_no_secret_is_built_in() -> None:
    for word, rest in instructions():
        if word in ("ENV", "ARG"):
            names = re.findall(r"(\w+)=", rest)
            assert not [n for n in names if re.search("PASSWORD|SECRET|TOKEN|KEY", n)]
    context = (REPO / ".dockerignore").read_text().splitlines()
    assert context[1] == "*"  # nothing unless it is named
    named = {line.removeprefix("!") for line in context if line.startswith("!")}
    assert not named & {".", ".env", ".git", "data", "out", "infra", "infra/proxy"}
    for name in named:
        assert [*REPO.glob(name)], name


def test_what_is_copied_is_in_the_context() -> None:
    named = (REPO / ".dockerignore").read_text()
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            *sources, _ = [part for part in shlex.split(rest) if not part.startswith("--")]
            for source in sources:
                path = source.replace("${WORKER_LOCK}", "infra/worker*.lock")
                tops = ("/".join(path.split("/")[:depth]) for depth in (1, 2))
                assert source == "." or any(f"!{top}\n" in named for top in tops), source


def test_pip_installs_by_hash_alone() -> None:
    installs = [r for w, r in instructions() if w == "RUN" and "pip install" in r]
    assert len(installs) == 2
    for command in installs:
        assert "pip install --require-hashes --no-deps --only-binary :all: -r " in command


def test_the_server_has_what_its_extra_names() -> None:
    extras = tomllib.loads((REPO / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    asked = [line for line in (REPO / "infra/server.in").read_text().splitlines() if line[0] != "#"]
    assert {re.split(r"[><=]", need)[0] for need in extras["server"]} <= set(asked)
    assert {re.split(r"\[", need)[0] for need in asked} <= set(versions())


def test_an_image_of_others_is_named_by_its_digest() -> None:
    files = [REPO / "infra/compose.yaml", *(REPO / "infra/k8s").rglob("*.yaml")]
    images = [name for file in files for name in re.findall(r"\bimage: *(\S+)", file.read_text())]
    theirs = [name for name in images if not re.match(r"(REGISTRY/)?modelsoup/", name)]
    assert len(theirs) >= 7
    for name in theirs:
        assert re.fullmatch(r"[a-z0-9./-]+:[\w.-]+@sha256:[0-9a-f]{64}", name), name
