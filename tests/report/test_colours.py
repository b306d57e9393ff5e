"""Text of the page stands out in each of its schemes: WCAG 2 asks for a contrast of 4.5."""

import re
from itertools import product

import pytest

from tests.checkouts import REPO

CSS = (REPO / "soup/report/page.css").read_text()
INKS = ("text", "quiet", "better", "worse", "link")
BEHIND = ("paper", "tint")


def colours(scheme: str) -> dict[str, str]:
    """The variables of a scheme, those of the light one where it sets no other."""
    light, *others = (
        dict(re.findall(r"--(\w+): (#[0-9a-f]+)", block))
        for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    )
    assert len(others) == 2
    return light | {"light": {}, "dark": others[0], "print": others[1]}[scheme]


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    shares = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#fff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_stands_out(scheme: str) -> None:
    known = colours(scheme)
    pairs = {pair: contrast(known[pair[0]], known[pair[1]]) for pair in product(INKS, BEHIND)}
    assert {pair: round(ratio, 2) for pair, ratio in pairs.items() if ratio < 4.5} == {}


def test_paper_is_white_in_print_whatever_the_scheme() -> None:
    assert colours("print")["paper"] == "#fff"
    assert CSS.index("@media print") > CSS.index("prefers-color-scheme: dark")
