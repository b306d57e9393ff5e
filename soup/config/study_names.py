"""The studies of a finished sweep, and the question that each answers; read by `soup --help`."""

# Name -> question. The study is the module of this name in soup/studies/ ('-' is '_' there), and
# docs/studies/NAME.md is its page.
STUDIES: dict[str, str] = {
    "number-of-models": "How do soups, ensembles and the best single model grow with the number of "
    "fine-tunes?",
    "calibration": "Are the confidences of soups and ensembles better calibrated than those of the "
    "best single model, before and after temperature scaling?",
    "hyperparameters": "What do soups of fine-tunes gain that differ in one hyperparameter only?",
    "averages": "Do soups add to EMA, SWA and SAM?",
    "distillation": "Is one model distilled from the ensemble better than the soup, at the same "
    "cost to run?",
    "weak-pretraining": "Do soups gain less from a base that was pretrained on less?",
    "other-data": "Is the average of fine-tunes on other data sets better than zero-shot, on one "
    "that none saw?",
    "landscape": "Where in the plane through the initialisation and two fine-tunes are loss and "
    "error lowest?",
    "angle": "Does averaging two fine-tunes gain more if they moved in more different directions?",
    "soup-ensemble": "How far is the average of two fine-tunes from their ensemble, and does the "
    "paper's approximation tell?",
    "large-rates": "From which learning rate on does a barrier stand between two fine-tunes?",
    "wise-ft": "On the way from the initialisation to the best single model, the soups and the "
    "ensemble: which curve is highest on test and under shift?",
}
