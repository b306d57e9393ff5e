#!/usr/bin/env bash
# torchmetrics 1.9.0: in a MetricCollection, accuracies at two thresholds can become one accuracy.
#
# After the first batch a collection compares the counts of its metrics, and from then on updates only
# one of those that agree, for all of them. It compares no arguments: where the first batch is one that
# both thresholds (or two values of ignore_index) judge alike, as they do an easy or a small batch, all
# that follow are counted at one threshold, whose accuracy both metrics give, without a word. So
# the result depends on the order of the data. Expected: only metrics that count alike in any batch
# share their counts. compute_groups=False avoids it. That groups may be wrong is known of others
# (Lightning-AI/torchmetrics#2596, of one's own metrics; #2916, BLEU); here it is torchmetrics' accuracy.
#
# Seen (accuracy at the thresholds 0.5 and 0.9, of the same four examples):
#   each alone: 1.0 and 0.5
#   in a collection, easy batch last: 1.0 and 0.5
#   in a collection, easy batch first: 0.5 and 0.5
set -euo pipefail
PYTHON=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$PYTHON" -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check \
    torchmetrics==1.9.0 torch==2.15.0 numpy==2.4.6 2>/dev/null
environment/bin/python - <<'PYTHON' | tee seen
import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAccuracy

easy = torch.tensor([0.95, 0.1]), torch.tensor([1, 0])
hard = torch.tensor([0.6, 0.7]), torch.tensor([1, 1])


def accuracies():
    return {"low": BinaryAccuracy(threshold=0.5), "high": BinaryAccuracy(threshold=0.9)}


def show(title, answers):
    print(f"{title}: {float(answers['low'])} and {float(answers['high'])}")


alone = accuracies()
for metric in alone.values():
    for batch in (easy, hard):
        metric.update(*batch)
show("each alone", {name: metric.compute() for name, metric in alone.items()})
for place, batches in {"last": (hard, easy), "first": (easy, hard)}.items():
    collection = MetricCollection(accuracies())
    for batch in batches:
        collection.update(*batch)
    show(f"in a collection, easy batch {place}", collection.compute())
PYTHON
diff - seen <<'EXPECTED'
each alone: 1.0 and 0.5
in a collection, easy batch last: 1.0 and 0.5
in a collection, easy batch first: 0.5 and 0.5
EXPECTED
