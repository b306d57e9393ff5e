"""Import of what people have: checkpoints of other formats and layouts, converted once."""

from soup.formats.convert import Imported, convert
from soup.formats.errors import FormatError

__all__ = ["FormatError", "Imported", "convert"]
