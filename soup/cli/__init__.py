"""The `soup` command, for people who have checkpoints. One verb a module; see `app`."""

import signal
import sys
import warnings
from typing import NoReturn

_interrupted: list[int] = []  # the signals of Ctrl-C


def main() -> None:
    """Run the command; print an error that the user can mend as one message, no traceback.

    A part of the package that is missing is named by what installs it. Ctrl-C ends it without a
    word at any moment, also while a package is imported.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    # torch, where NumPy is not installed; what needs NumPy says so by itself.
    warnings.filterwarnings("ignore", "Failed to initialize NumPy")
    try:
        _run()
    except BaseException as error:
        # An import that is interrupted may end with any other error.
        if _interrupted or isinstance(error, KeyboardInterrupt):
            sys.exit(130)
        raise


def _interrupt(number: int, _frame: object) -> NoReturn:
    _interrupted.append(number)
    raise KeyboardInterrupt


def _run() -> None:
    from soup.errors import BadInput, full_disk, missing_extra, tells_what

    try:
        from soup.cli.app import app

        app()
    except ModuleNotFoundError as error:
        remedy = missing_extra(error)
        if remedy is None:
            raise
        sys.stderr.write(f"error: this needs {remedy}\n")
        sys.exit(2)
    except Exception as error:
        reason = error if tells_what(error) else full_disk(error) or error
        if not tells_what(reason):
            raise
        from soup.cli.terminal import fail

        fail(str(reason))
        sys.exit(2 if isinstance(error, BadInput | FileNotFoundError) else 1)
