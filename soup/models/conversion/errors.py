"""What import says of a source that it cannot turn into weights."""

from soup.errors import BadInput


class FormatError(BadInput, ValueError):
    """A source that holds no weights that can be used; the message names it, and what to do."""
