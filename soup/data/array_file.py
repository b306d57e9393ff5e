"""Read an array in NumPy's file format, without pickles and no larger than its file.

`numpy.load` allocates an array of whatever size the header states before it reads the data, and
raises many kinds of errors for damaged headers.
"""

import io
import math
import tokenize

import numpy as np
from numpy.typing import NDArray

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def parse_array(raw: bytes) -> NDArray[np.generic]:
    """Return the array of numbers or booleans in the content of a .npy file.

    Raises:
        ValueError: the content is not of this format, or its size differs from the header's.
    """
    file = io.BytesIO(raw)
    try:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"it is of version {version} of the format")
        shape, by_column, dtype = _HEADERS[version](file)
    except (ArithmeticError, SyntaxError, TypeError, LookupError, RecursionError) as error:
        raise ValueError(f"its header is damaged: {error}") from None
    except (MemoryError, AttributeError, tokenize.TokenError) as error:
        raise ValueError(f"its header is damaged: {error}") from None
    if dtype.kind not in "biuf" or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"it holds {dtype} {shape}, not numbers")
    size = math.prod(shape) * dtype.itemsize
    if size != len(raw) - file.tell():
        raise ValueError(f"its header speaks of {size} bytes, there are {len(raw) - file.tell()}")
    array: NDArray[np.generic] = np.frombuffer(raw, dtype, offset=file.tell())
    return array.reshape(shape, order="F" if by_column else "C").copy(order="K")
