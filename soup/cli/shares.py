"""soup cook --weights: the weight of each model."""

import math

from soup.errors import BadInput


def shares_of(text: str, count: int) -> list[float]:
    """The weights of the models, as `--weights 2,1,1` gives them.

    Raises:
        BadInput: they are no numbers, as many as models, of a sum other than 0.
    """
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"--weights {text}: give numbers with commas between, as 2,1,1") from None
    if len(shares) != count:
        raise BadInput(f"--weights {text}: {len(shares)} numbers for {count} models")
    total = math.fsum(shares) if all(map(math.isfinite, shares)) else math.nan
    if not math.isfinite(total) or total == 0:
        raise BadInput(f"--weights {text}: the sum must be a finite number other than 0")
    return shares
