"""The `soup` command, for people who have checkpoints. One verb a module; see `app`."""

import sys

from soup.errors import missing_extra


def main() -> None:
    """Run the command; name the optional part of the package that it lacks, if it lacks one."""
    try:
        from soup.cli.app import main as run

        run()
    except ModuleNotFoundError as error:
        remedy = missing_extra(error)
        if remedy is None:
            raise
        sys.stderr.write(f"error: this needs {remedy}\n")
        sys.exit(2)
