"""The error for images that cannot be used."""

from soup.errors import BadInput


class DataError(BadInput, ValueError):
    """Images that cannot be used as they are; the message says which, why and what to do."""
