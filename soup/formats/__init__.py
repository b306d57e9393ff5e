"""Import of what people have: checkpoints of other formats and layouts, converted once."""

from soup.formats.convert import Imported, convert
from soup.formats.errors import FormatError
from soup.formats.reading import weights_of

__all__ = ["FormatError", "Imported", "convert", "weights_of"]
