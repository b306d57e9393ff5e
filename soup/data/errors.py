"""The errors for images that cannot be used."""

from soup.errors import BadInput


class DataError(BadInput, ValueError):
    """Images that cannot be used as they are; the message says which, why and what to do."""


class Unreadable(DataError):
    """Images that are what they were when the split was made, and cannot be decoded."""
