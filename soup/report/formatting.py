"""Format numbers for a reader; missing values (None, NaN) become a dash."""

import math

# Not just `float`: under pytest types are checked at run time, where an int is not a float.
Number = int | float

MISSING = "—"
# Names of the splits that are not shifts, in the order of the report's columns.
SPLITS = {
    "heldout": "held-out",
    "test": "test",
    "real": "test by ReaL labels",
    "shifts": "mean of shifts",
}


def unit(measure: str) -> str:
    """The unit in which a measure is shown: percent, or 100 times a score such as a correlation."""
    return "%" if measure == "accuracy" else "times 100"


def title(measure: str) -> str:
    """A measure's name at the start of a sentence: "accuracy" -> "Accuracy"."""
    return measure[:1].upper() + measure[1:]


def split(name: str) -> str:
    """Return a split's name for a sentence: "heldout" -> "held-out"."""
    return SPLITS.get(name, name)


def percent(fraction: Number, digits: int = 1) -> str:
    """Format a fraction in percent, without the sign: 0.9137 -> "91.4"."""
    return MISSING if math.isnan(fraction) else f"{100 * fraction:.{digits}f}"


def points(difference: Number) -> str:
    """Format a difference of two fractions in percentage points: 0.0075 -> "+0.75"."""
    if math.isnan(difference):
        return MISSING
    # Adding zero turns a rounded -0.0 into 0.0, which has no sign.
    rounded = round(100 * difference, 2) + 0.0
    return f"{rounded:+.2f}".replace("-", "\u2212") if rounded else "0.00"


def measured(fraction: Number, measure: str) -> str:
    """Return a score for a sentence: "91.4%" of an accuracy, "52.1" of another score."""
    known = measure == "accuracy" and not math.isnan(fraction)
    return percent(fraction) + ("%" if known else "")


def interval_name(confidence: Number) -> str:
    """Return what intervals of a confidence, a fraction, are called: 0.95 -> "95% interval"."""
    return f"{100 * confidence:g}% interval"


def probability(p: Number) -> str:
    """Format a p-value; small ones become "< 0.001"."""
    if math.isnan(p):
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def count(value: Number) -> str:
    """Format a number of examples: 12345.0 -> "12,345"."""
    return MISSING if math.isnan(value) else f"{value:,.0f}"


def duration(seconds: Number) -> str:
    """Format seconds in at most two units: "0.4 s", "12 s", "3 min 20 s", "2 h 05 min"."""
    if math.isnan(seconds):
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def setting(value: object) -> str:
    """Format a hyperparameter: 3e-05 -> "3e-5", True -> "yes", 4.0 -> "4", "adamw" -> "adamw"."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    # Compared as text because NumPy's booleans are neither bool nor int.
    if str(value) in ("True", "False"):
        return "yes" if value else "no"
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 2**53:  # a column with a gap turns seeds into floats
            return str(int(value))
        # %g uses powers of ten only below 1e-4; learning rates read better with them below 1e-3.
        if 0 < abs(value) < 1e-3:
            mantissa, exponent = f"{value:.2e}".split("e")
            return f"{float(mantissa):g}e{int(exponent)}"
        return f"{value:.4g}"
    return str(value)
