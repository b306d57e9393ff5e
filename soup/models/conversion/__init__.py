"""Import of what people have: checkpoints of other formats and layouts, converted once."""

from soup.models.conversion.convert import Imported, convert, description_of
from soup.models.conversion.errors import FormatError
from soup.models.conversion.read_weights import weights_of

__all__ = ["FormatError", "Imported", "convert", "description_of", "weights_of"]
