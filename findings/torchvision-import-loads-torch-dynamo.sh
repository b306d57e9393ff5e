#!/usr/bin/env bash
# torchvision 0.29.2 (torch 2.15.0): `import torchvision` imports torch._dynamo, and with it SymPy.
#
# torchvision/ops/roi_align.py compiles one function on its first call, by a helper that says it is
# there to avoid importing dynamo eagerly; but the same file imports is_compile_supported from
# torch._dynamo.utils when it is loaded, and torchvision loads all of its operators. Whoever only
# decodes a JPEG by torchvision.io loads a thousand modules that nothing uses unless a model is
# compiled: the import (after torch's) takes ten times as long as without them.
# Expected: dynamo imported with the first call of roi_align that needs it (pytorch/vision#8451 took
# out such an import of this file in 2024).
#
# Seen:
#   import torchvision: torch._dynamo and sympy loaded; 12.8 times the processor's time
set -euo pipefail
PYTHON=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$PYTHON" -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check \
    torch==2.15.0 torchvision==0.29.2 numpy 2>/dev/null
cat >import.py <<'PYTHON'
"""Prints what `import torchvision` loads, and the processor's seconds that it takes."""
import importlib.abc
import sys
import time
import traceback
import types

import torch

WHOSE = []


class Noted(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torch._dynamo" and not WHOSE:
            files = [frame.filename for frame in traceback.extract_stack()]
            WHOSE.extend(file for file in files if "torchvision" in file)
        return None


def loaded():
    return {name: name in sys.modules for name in ("torch._dynamo", "sympy")}


if sys.argv[1:] == ["without"]:  # stands for what the file asks of dynamo
    stub, package = types.ModuleType("torch._dynamo.utils"), types.ModuleType("torch._dynamo")
    stub.is_compile_supported = lambda device: False
    sys.modules |= {"torch._dynamo": package, "torch._dynamo.utils": stub}
    begun = time.process_time()
    import torchvision
else:
    before = loaded()
    sys.meta_path.insert(0, Noted())
    begun = time.process_time()
    import torchvision

    assert before == {"torch._dynamo": False, "sympy": False}, before
    assert loaded() == {"torch._dynamo": True, "sympy": True}, loaded()
    assert WHOSE[-1].endswith("torchvision/ops/roi_align.py"), WHOSE
print(time.process_time() - begun)
PYTHON
environment/bin/python import.py >/dev/null # compiles what is imported
for way in with without; do
    for _ in 1 2 3; do environment/bin/python import.py "$way"; done | sort -g | head -1 >"$way"
done
environment/bin/python - <<'PYTHON'
took = {way: float(open(way).read()) for way in ("with", "without")}
ratio = took["with"] / took["without"]
print(f"import torchvision: torch._dynamo and sympy loaded; {ratio:.1f} times the processor's time")
assert ratio > 1.5, took
PYTHON
