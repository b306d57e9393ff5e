"""The page of `soup try`: an example on the left, what each model answers on the right.

It is made by Gradio, and served to this machine alone. Gradio sends no statistics from here, the
page takes the fonts of the reader's system, and requests under other host names are refused, as
`soup serve` refuses them (`soup.serving.app`).
"""

import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soup.errors import BadInput
from soup.serving.addresses import LOOPBACK, address_of, listen
from soup.serving.side_by_side import Answer, SideBySide

if TYPE_CHECKING:
    from gradio import Blocks

HOST = "127.0.0.1"
PORTS = range(7860, 7960)  # those that Gradio's users know
LARGEST = 16 << 20  # bytes of a picture
LONGEST = 100_000  # characters of a text
# Gradio and what it brings read them when they are imported.
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
FONT = ["system-ui", "sans-serif"]
# The likeliest class, so that long names fit a column.
CSS = ".output-class { font-size: var(--text-xl) !important; padding: var(--size-3) !important }"
MONOSPACED = ["ui-monospace", "monospace"]


def blocks(models: SideBySide, title: str) -> "Blocks":
    """The page.

    Args:
        models: what is asked.
        title: of what the models are, for people.
    """
    import gradio as gr

    with gr.Blocks(title=f"{title}: soup try", analytics_enabled=False, fill_width=True) as page:
        gr.Markdown(f"# {title}")
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                if models.of_text:
                    first = gr.Textbox(label="A sentence", lines=3, max_length=LONGEST)
                    second = gr.Textbox(
                        label="A second one, for models of pairs", max_length=LONGEST
                    )
                    given = [first, second]
                    asking = [first.submit, second.submit]
                    asking.append(gr.Button("Ask the models", variant="primary").click)
                else:
                    sources: Any = ["upload", "clipboard"]
                    picture = gr.Image(
                        type="filepath", image_mode=None, sources=sources, label="A picture",
                        height=320,
                    )  # fmt: skip
                    given, asking = [picture], [picture.change]
            with gr.Column(scale=5, min_width=280):
                said = gr.Markdown(_invitation(models))
                with gr.Row():
                    shown = [_column(entry.title, entry.note) for entry in models.entries]
        outputs = [said, *(part for column in shown for part in column)]

        def ask(*example: str | None) -> list[Any]:
            return _shown(models, example)

        asked: dict[str, Any] = {"fn": ask, "inputs": given, "outputs": outputs}
        for begin in asking:
            begin(**asked, api_visibility="private", show_progress="minimal")
    return page


def _column(title: str, note: str) -> tuple[Any, Any]:
    """The parts of the page that show an entry's answer, and its time."""
    import gradio as gr

    with gr.Column(min_width=200):
        gr.Markdown(f"### {title}\n{note}")
        label = gr.Label(show_label=False, elem_classes=title.replace(" ", "-"))
        return label, gr.Markdown()


def _invitation(models: SideBySide) -> str:
    return "Type a sentence." if models.of_text else "Drop a picture, or paste one."


def _shown(models: SideBySide, example: Sequence[str | None]) -> list[Any]:
    """What the page shows for an example: a sentence, and of each entry an answer and a time."""
    nothing = [None, ""] * len(models.entries)
    if models.of_text:
        asked: Any = tuple(text for text in example if text and text.strip())
    else:
        asked = example[0] and Path(example[0]).read_bytes()
    if not asked:
        return [_invitation(models), *nothing]
    try:
        answers = models.ask(asked)
    except BadInput as error:
        return [str(error), *nothing]
    columns = [part for answer in answers for part in (_label(answer), _below(answer))]
    return [_sentence(answers), *columns]


def _label(answer: Answer) -> Any:
    return answer.label if answer.number is not None else {**answer.shares} or None


def _below(answer: Answer) -> str:
    return answer.error or f"{1000 * answer.seconds:.1f} ms"


def _sentence(answers: Sequence[Answer]) -> str:
    """Whether the models agree."""
    if any(answer.number is not None for answer in answers):
        return "Each model predicts a number."
    labels = {answer.label for answer in answers if answer.label}
    if len(labels) == 1:
        return f"All answer `{labels.pop()}`."
    told = [f"{answer.title} `{answer.label}`" for answer in answers if answer.label]
    return f"They differ: {', '.join(told)}." if told else "No model has an answer."


def serve(models: SideBySide, title: str, port: int | None, ready: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        port: None for one that is free.
        ready: called with the address once the page is there.

    Raises:
        BadInput: another program uses the port.
    """
    os.environ.update(QUIET)
    with tempfile.TemporaryDirectory(prefix="soup-try-") as uploads, _listening(port) as listening:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        import gradio as gr
        import uvicorn
        from fastapi import FastAPI
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK], www_redirect=False)
        theme = gr.themes.Default(font=FONT, font_mono=MONOSPACED)
        app = gr.mount_gradio_app(
            app, blocks(models, title), path="", server_name=HOST, theme=theme, css=CSS,
            server_port=listening.getsockname()[1], footer_links=[], run_history=False,
            show_error=True, max_file_size=LARGEST, ssr_mode=False, pwa=False, mcp_server=False,
            enable_monitoring=False,
        )  # fmt: skip
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, proxy_headers=False,
            timeout_graceful_shutdown=1,
        )  # fmt: skip

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                ready(address_of(listening))

        Server(config).run([listening])


def _listening(port: int | None) -> socket.socket:
    """A listening socket; without a port at the first free one that people know, or at any."""
    if port is not None:
        return listen(HOST, port)
    for known in PORTS:
        try:
            return listen(HOST, known)
        except BadInput:
            continue
    return listen(HOST, 0)
