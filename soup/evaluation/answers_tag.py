"""The held-out answers of a model as the text of a tag of MLflow's registry.

Two versions of one split are then compared by any score, without the examples or the models.
"""

import base64
import zlib

import numpy as np

from soup.evaluation.count_tests import Answers

LONGEST = 99_000  # characters; a tag of MLflow's registry takes 100,000
MOST = 1_000_000  # examples, so that a damaged tag takes little memory
MOST_CLASSES = 65_000


def packed_answers(given: Answers) -> str:
    """'COUNT:DATA', the labels and then the answers as 16-bit numbers, compressed, in base64.

    Returns '' if a tag cannot hold them.
    """
    both = np.concatenate([given.labels, given.answers + 1])  # 0: no prediction
    if not len(both) or both.max() > MOST_CLASSES:
        return ""
    data = base64.b64encode(zlib.compress(both.astype("<u2").tobytes(), 9)).decode()
    text = f"{len(given.labels)}:{data}"
    return text if len(text) <= LONGEST else ""


def unpacked_answers(text: str) -> Answers | None:
    """The answers from the text of a tag; None if it is absent or damaged."""
    count, _, data = text.partition(":")
    try:
        examples = int(count)
        if not 1 <= examples <= MOST:
            return None
        raw = base64.b64decode(data, validate=True)
        unpacker = zlib.decompressobj()
        numbers = unpacker.decompress(raw, 4 * examples + 1)
    except (ValueError, zlib.error):
        return None
    if len(numbers) != 4 * examples or not unpacker.eof:
        return None
    both = np.frombuffer(numbers, "<u2").astype(np.int64)
    return Answers(both[:examples], both[examples:] - 1)
