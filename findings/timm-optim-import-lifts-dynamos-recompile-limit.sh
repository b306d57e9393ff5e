#!/usr/bin/env bash
# timm 1.0.31 (torch 2.15.0): `import timm.optim` raises torch.compile's limit of recompilations,
# from 8 to 1,000,000, for all compiled code of the process.
#
# timm/optim/kron.py sets torch._dynamo.config.cache_size_limit (now an alias of recompile_limit)
# when it is loaded, for one optimiser's sake, and timm.optim loads all optimisers. A compiled
# function whose guards fail again and again, as with a Python number that changes each step, is
# then compiled anew each time and without a word, where torch would warn and run it uncompiled
# after eight. No optimiser of timm need be used: to import its factory is enough.
# Expected: an import changes no setting of another package; a limit for one optimiser's step is
# set around that step.
#
# Seen:
#   recompile limit: 8, after `import timm` 8, after `import timm.optim` 1000000
#   a function called with 20 constants is compiled 8 times before, 20 times after
set -euo pipefail
PYTHON=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$PYTHON" -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check \
    timm==1.0.31 torch==2.15.0 torchvision==0.29.2 2>/dev/null
environment/bin/python - 2>/dev/null <<'PYTHON'
import torch
import torch._dynamo.config as config


def compilations():
    """How often a function is compiled that is called with twenty constants."""
    torch._dynamo.reset()
    made = []

    def backend(graph, _):
        made.append(graph)
        return graph.forward

    class Scale(torch.nn.Module):
        power = "0"  # text, which is always a constant of the compiled code

        def forward(self, x):
            return x * len(self.power) + int(self.power)

    scale = Scale()
    compiled = torch.compile(scale, backend=backend)
    for number in range(20):
        scale.power = str(number)
        compiled(torch.ones(2))
    return len(made)


limits, counts = [config.recompile_limit], [compilations()]
import timm

limits.append(config.recompile_limit)
import timm.optim

limits.append(config.recompile_limit)
counts.append(compilations())
print(
    f"recompile limit: {limits[0]}, after `import timm` {limits[1]}, "
    f"after `import timm.optim` {limits[2]}"
)
print(
    f"a function called with 20 constants is compiled {counts[0]} times before, "
    f"{counts[1]} times after"
)
assert limits == [8, 8, 1_000_000], limits
assert counts == [8, 20], counts
PYTHON
