"""The `soup` command, for people who have checkpoints. One verb a module; see `app`."""

import sys

from soup.errors import BadInput, Failure, missing_extra


def main() -> None:
    """Run the command; print an error that the user can mend as one message, no traceback.

    A part of the package that is missing is named by what installs it.
    """
    try:
        from soup.cli.app import app

        app()
    except ModuleNotFoundError as error:
        remedy = missing_extra(error)
        if remedy is None:
            raise
        sys.stderr.write(f"error: this needs {remedy}\n")
        sys.exit(2)
    except (BadInput, Failure, OSError) as error:
        from soup.cli.terminal import fail

        fail(str(error))
        sys.exit(2 if isinstance(error, BadInput | FileNotFoundError) else 1)
