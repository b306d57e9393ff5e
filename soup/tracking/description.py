"""The description of a run, which MLflow's UI shows on its page."""

from soup.tracking.limits import LONGEST, shortened, storable

DESCRIPTION = "description.md"  # the artifact of a description that no tag holds
WHOLE = f"\n\nThe whole of it is the run's artifact {DESCRIPTION}."


def in_a_tag(text: str, whole: str = "") -> tuple[str, str]:
    """The text for the tag, and what belongs into the artifact: '' if the tag has all.

    Args:
        whole: what `text` was shortened from; '' if it is whole.
    """
    whole = storable(whole or text)
    if whole == text and len(whole) <= LONGEST:
        return text, ""
    return storable(shortened(text, LONGEST - len(WHOLE)) + WHOLE), whole
