"""Search spaces by name, and where their numbers come from.

A space of your own starts from one of them (`like: paper-random`) and changes what differs.
"""

from soup.config.search_space import Epochs, RandAugment, Range, Space

# The paper's random search, as its 71 released runs show it (`hparam_info.json` of the published
# repository): learning rate and weight decay log-uniform over these bounds, 4 to 16 epochs, mixup
# and label smoothing off in half of the runs (39 of 71), minimal augmentation in a third (27 of
# 71), else RandAugment of 1 to 20 and 0 to 2. Their weight decays end at 10^-0.28, their largest
# mixup is 0.88 and their largest smoothing 0.225; the round bounds above these are ours.
PAPER_RANDOM = Space(
    lr=Range(min=1e-6, max=1e-4, scale="log"),
    weight_decay=Range(min=10**-4.1, max=10**-0.27, scale="log"),
    epochs=Epochs(min=4, max=16),
    mixup=Range(min=0, max=0.9, zero=0.5),
    label_smoothing=Range(min=0, max=0.25, zero=0.5),
    augment=RandAugment(),
)

# The grid of the paper's main figures: 4 rates x 3 strengths x mixup off or on, two seeds of each
# (48 runs), 10 epochs. From the description in the paper's appendix, which, unlike the runs above,
# has no released file to hold it against; the weight decay is our own choice.
PAPER_GRID = Space(
    lr=[3e-5, 2e-5, 1e-5, 3e-6],
    weight_decay=[0.1],
    epochs=[10],
    augment=["minimal", "medium", "strong"],
    mixup=[0.0, 0.5],
    seed=[0, 1],
)

# The same with rates that are too small and too large, where a uniform soup fails and greedy has to
# choose (the appendix again): 8 rates x 3 strengths x mixup off or on.
EXTREME_GRID = PAPER_GRID.model_copy(
    update={"lr": [3e-4, 1e-4, 3e-5, 2e-5, 1e-5, 3e-6, 1e-6, 1e-7], "seed": None}
)

# Runs that differ in their seed alone, as in the paper's calibration figure (20 of them). Its
# hyperparameters are not known to us: these are the middle of the grid.
SEEDS_ONLY = Space(
    lr=[2e-5],
    weight_decay=[0.1],
    epochs=[10],
    augment=["medium"],
)

# The paper's random search on GLUE with BERT and T5: 32 runs a task, rates log-uniform over these
# bounds. From the description in the paper's appendix, which has no released file to hold it
# against; the weight decay is our own choice, as BERT was pretrained with.
PAPER_TEXT = Space(
    lr=Range(min=1e-6, max=1e-4, scale="log"),
    weight_decay=[0.01],
    epochs=[2, 3, 5],
    batch_size=[8, 16, 32, 64],
)

NAMED = {
    "paper-random": (PAPER_RANDOM, "random"),
    "paper-grid": (PAPER_GRID, "grid"),
    "extreme-grid": (EXTREME_GRID, "grid"),
    "seeds-only": (SEEDS_ONLY, "random"),
    "paper-text": (PAPER_TEXT, "random"),
}


def filled(space: Space) -> Space:
    """A space with what it takes from a named one filled in.

    Done as parameters are read, because in another process, which gets them as JSON with all
    defaults, nobody can tell what was given.
    """
    if space.like is None:
        return space
    given = {name: getattr(space, name) for name in space.model_fields_set}
    return NAMED[space.like][0].model_copy(update=given)


def method_of(space: Space, given: str | None) -> str:
    """How a space is searched: 'random' or 'grid'."""
    return given or (NAMED[space.like][1] if space.like else "random")
