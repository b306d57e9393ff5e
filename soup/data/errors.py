"""What is wrong with images, in words."""

from soup.errors import BadInput


class DataError(BadInput, ValueError):
    """Images that cannot be used as they are; the message says which, why and what to do."""
