"""The error for a source that cannot be converted."""

from soup.errors import BadInput


class FormatError(BadInput, ValueError):
    """A source has no usable weights; the message names the source and the remedy."""
