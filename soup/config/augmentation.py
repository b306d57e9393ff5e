"""What the name of an augmentation may be, checked by the rules of timm."""

import re

# The sections of timm's RandAugment policies: the name, its values, and these in words. timm draws
# without replacement from the weighted sets, of 15 and 14 operations.
POLICY = {
    "m": (r"\d+", "a whole magnitude, such as m9; mstd makes it vary"),
    "n": (r"\d+", "a whole number of operations, such as n2"),
    "p": (r"0(\.\d+)?|1(\.0+)?", "the probability of an operation, such as p0.5"),
    "mstd": (r"\d+(\.\d+)?", "the deviation of the magnitude, such as mstd0.5"),
    "mmax": (r"\d+", "the largest magnitude, whole, such as mmax15"),
    "inc": (r"[01]", "inc1 for operations that grow with the magnitude, or inc0"),
    "t": (r"weights|3a|3aw", "a set of operations: tweights, t3a or t3aw"),
}
WITHOUT_REPLACEMENT = {"weights": 15, "3aw": 14}


def as_timm_takes_it(augment: str) -> str:
    """Check an augmentation: timm ignores some mistakes, and fails for others in training.

    Raises:
        ValueError: timm does not take the policy; the message lists every section that is wrong.
    """
    kind, *sections = augment.split("-")
    if augment in ("none", "minimal", "medium", "strong"):
        return augment
    if kind != "rand":
        raise ValueError("give none, minimal, medium, strong, or timm's rand-mM-nN")
    problems, values = [], {}
    for section in sections:
        key = "t" if section.startswith("t") else re.split(r"\d", section, maxsplit=1)[0]
        value, (values_of, words) = section.removeprefix(key), POLICY.get(key, ("", ""))
        if not words:
            problems.append(f"timm knows no section {section!r}; known: {', '.join(POLICY)}")
        elif key in values:
            problems.append(f"{key} stands there twice")
        elif not re.fullmatch(values_of, value):
            problems.append(f"{section!r} is not {words}")
        values[key] = value
    most = WITHOUT_REPLACEMENT.get(values.get("t", ""))
    if most and not problems and int(values.get("n", 2)) > most:
        problems.append(f"t{values['t']} has {most} operations, fewer than n{values['n']}")
    if problems:
        raise ValueError("; ".join(problems))
    return augment
