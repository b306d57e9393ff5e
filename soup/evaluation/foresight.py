"""What is expected of the mean of some ingredients, from what each of them answered.

The *margin* of an example is the logit of its label less the highest other one: below 0 the model
is wrong. The logits of a mean of weights are near the mean of the models' logits (Wortsman et al.,
"Model soups", section 4), and so are the margins, closely enough to tell which examples a
candidate probably gets wrong. A judge visits these first, so that it can reject a candidate after
about as many examples as it may get wrong. This decides the order of the visit, and no candidate.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from soup.evaluation.metrics import Margins


class Foresight:
    """Expected margins of means of ingredients."""

    def __init__(self, margins: Mapping[str, Margins]) -> None:
        """
        Args:
            margins: of each ingredient by name, (examples,).
        """
        self._margins = margins
        self._asked: Counter[str] = Counter()
        self._soup: tuple[Counter[str], Margins] | None = None

    def of(self, names: Sequence[str]) -> Margins | None:
        """The expected margins of a mean of these ingredients, a repeated one counting as often.

        They start from those of the last mean that was seen, which resembles the next. None if the
        margins of an ingredient are not known.
        """
        self._asked = Counter(names)
        if not names or any(name not in self._margins for name in names):
            return None
        known, total = Counter[str](), np.zeros_like(self._margins[names[0]])
        if self._soup is not None:
            known, total = self._soup[0], self._soup[1] * self._soup[0].total()
        for name in self._asked | known:
            times = self._asked[name] - known[name]
            if times:
                total = total + times * self._margins[name]
        return total / len(names)

    def learn(self, margins: Margins) -> None:
        """Take the margins of the mean that was asked for last, all of whose examples were seen."""
        if self._asked and all(name in self._margins for name in self._asked):
            self._soup = self._asked, margins
