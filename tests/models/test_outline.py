"""Models are compared with their weights before they take memory, and are then what they were."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from soup import limits
from soup.models import Architecture, ModelError, build, building, load_weights, outline
from soup.models.by_name import numbered, resolve_architecture
from soup.models.outline import TooLarge
from soup.weights.checkpoint import Checkpoint, save
from tests.models.test_layer_groups import tower
from tests.worlds import architecture, tiny

SMALL = {"embed_dim": 32, "depth": 1, "num_heads": 2}
STAGES = {"embed_dim": 16, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 2, 2]}
# Of each family that computes tables which no file holds, and of those that initialise in a way of
# their own: the model, its arguments and its input's side.
FAMILIES: dict[str, tuple[dict[str, Any], int]] = {
    "test_vit": ({}, 160),
    "test_resnet": ({}, 64),
    "test_efficientnet": ({}, 64),
    "test_convnext": ({}, 64),
    "test_nfnet": ({}, 64),
    "test_byobnet": ({}, 64),
    "test_vit4": ({}, 160),
    "swin_tiny_patch4_window7_224": ({**STAGES, "img_size": 64, "window_size": 4}, 64),
    "swinv2_tiny_window8_256": ({**STAGES, "img_size": 64, "window_size": 4}, 64),
    "swinv2_cr_tiny_224": ({**STAGES, "img_size": 64, "window_size": 4}, 64),
    "eva02_tiny_patch14_224": ({**SMALL, "img_size": 56}, 56),
    "vit_small_patch16_dinov3": ({**SMALL}, 64),
    "beit_base_patch16_224": ({**SMALL, "img_size": 64}, 64),
    "vit_relpos_small_patch16_224": ({**SMALL, "img_size": 64}, 64),
    "vit_tiny_patch16_224": ({**SMALL, "img_size": 64, "global_pool": "map"}, 64),
    "levit_128s": ({"img_size": 224}, 224),
    "tiny_vit_5m_224": ({"embed_dims": [8, 16, 16, 16], "num_heads": [1, 1, 2, 2]}, 224),
    "sequencer2d_s": ({"img_size": 64, "embed_dims": [16, 16, 16, 16]}, 64),
    "convit_tiny": ({}, 224),
    "maxvit_rmlp_pico_rw_256": ({}, 256),
    "halonet26t": ({}, 256),
    "xcit_nano_12_p16_224": ({}, 224),
    "cait_xxs24_224": ({}, 224),
}  # fmt: skip


def described(name: str) -> Architecture:
    kwargs, side = FAMILIES[name]
    return Architecture("timm", name, ("a", "b"), side, (0.5,) * 3, (0.5,) * 3, kwargs=kwargs)


def initialised(made: Architecture) -> nn.Module:
    """The model as its library initialises it, with numbers that are nowhere the same."""
    torch.manual_seed(1)
    model = building.library(made.library).build(made)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model.to(memory_format=torch.channels_last).eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_gives_the_logits_of_the_model_that_its_library_initialises(
    name: str, tmp_path: Path
) -> None:
    require_the_same(described(name), tmp_path)


@pytest.mark.parametrize("kind", ["vit", "resnet", "timm"])
def test_each_kind_of_clip_tower_does_too(kind: str, tmp_path: Path) -> None:
    require_the_same(tower(kind), tmp_path)


def require_the_same(made: Architecture, folder: Path) -> None:
    wanted = initialised(made)
    save(wanted.state_dict(), folder / "m.safetensors")
    state = torch.random.get_rng_state()
    model = build(made, Checkpoint(folder / "m.safetensors"))
    assert torch.equal(torch.random.get_rng_state(), state)
    for (key, ours), (other, theirs) in zip(tensors(model), tensors(wanted), strict=True):
        assert key == other
        assert torch.equal(ours, theirs), key
        assert ours.stride() == theirs.stride(), key
    images = torch.randn(1, 3, made.image_size, made.image_size)
    with torch.no_grad():
        assert torch.equal(model(images), wanted(images))
    assert all(p.requires_grad for p in model.parameters())


def tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    """All tensors of a model, also those that are in no state dict."""
    plain = [
        (f"{path}.{name}", value)
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor)
    ]
    return [*model.named_parameters(), *model.named_buffers(), *plain]


def test_no_memory_is_taken_for_a_model_that_its_weights_do_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, model = tiny()
    monkeypatch.setattr(building, "without_numbers", None)
    monkeypatch.setattr(building, "load_weights", None)
    state = {**model.state_dict(), "fc.weight": torch.zeros(3, 9)}
    with pytest.raises(ModelError, match=r"fc.weight is \(3, 9\), the model wants \(3, 8\)"):
        build(made, state)
    with pytest.raises(ModelError, match=r"do not fit mine:\n  missing"):
        build(made, {}, "mine")


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("MODEL_BYTES", "it has more than 9 bytes .limit MODEL_BYTES in soup/limits.py"),
        ("MODEL_PARTS", "it has more than 9 layers and tensors .limit MODEL_PARTS"),
        ("COMPUTED_BYTES", "tables of [0-9,]+ bytes that no file holds, and at most 9 are"),
    ],
)
def test_a_model_beyond_a_limit_is_refused_with_it(
    monkeypatch: pytest.MonkeyPatch, limit: str, reason: str
) -> None:
    made = described("swin_tiny_patch4_window7_224")
    state = initialised(made).state_dict()
    monkeypatch.setattr(limits, limit, 9)
    monkeypatch.setattr(building, "without_numbers", None)
    with pytest.raises(TooLarge, match=f"swin_tiny_patch4_window7_224 is not built: .*{reason}"):
        build(made, state)


def test_a_limit_stops_the_building_and_not_only_its_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MODEL_PARTS", 50)
    built = 0

    class Layer(nn.Module):
        def __init__(self) -> None:
            nonlocal built
            built += 1
            super().__init__()
            self.inner = nn.ReLU()

    with pytest.raises(TooLarge):
        outline.outline(lambda: nn.Sequential(*(Layer() for _ in range(1000))), "long")
    assert built < 60


def test_more_rows_in_a_head_than_the_limit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.safetensors"
    save(tiny()[1].state_dict(), file, {"architecture": architecture().text()})
    resolved = resolve_architecture(None, Checkpoint(file), ())._replace(named=False)
    assert len(numbered(resolved, Checkpoint(file)).classes) == 3
    monkeypatch.setattr(limits, "CLASSES", 2)
    with pytest.raises(
        ModelError, match=r"m.safetensors has 3 classes; at most 2 are read .limit CLASSES"
    ):
        numbered(resolved, Checkpoint(file))


def test_shared_parameters_stay_shared_and_unlisted_ones_are_initialised() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(2, 2), nn.Linear(2, 2)
            self.other.weight = self.one.weight

    class Hidden(Tied):
        def state_dict(self, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
            state = super().state_dict(*args, **kwargs)
            return {name: tensor for name, tensor in state.items() if name != "one.bias"}

    made = outline.without_numbers(Tied, outline.outline(Tied, "tied"))
    assert made.other.weight is made.one.weight
    load_weights(made, {n: torch.ones_like(t) for n, t in made.state_dict().items()}, "tied")
    assert made.one.weight.eq(1).all()
    torch.manual_seed(0)
    wanted = Hidden().one.bias
    torch.manual_seed(0)
    hidden = outline.without_numbers(Hidden, outline.outline(Hidden, "hidden"))
    assert torch.equal(hidden.one.bias, wanted)


def test_no_parameter_of_an_outline_is_initialised() -> None:
    class Tables(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 2)
            self.register_buffer("table", torch.zeros(2).fill_(1))

    class Called(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    names: list[str] = []
    with Called():
        made = outline.outline(Tables, "tables")
    assert made.weight.is_meta
    assert "fill_" in names  # buffers are computed
    assert "uniform_" not in names


def test_a_file_is_read_in_parts_and_not_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, model = tiny()
    save(model.state_dict(), tmp_path / "m.safetensors")
    read = partial(Checkpoint.__getitem__)

    def integers_only(self: Checkpoint, name: str) -> Tensor:
        assert not self.specs[name].dtype.is_floating_point, name
        return read(self, name)

    monkeypatch.setattr(Checkpoint, "__getitem__", integers_only)
    monkeypatch.setattr(building, "PART", 7)
    again = build(made, Checkpoint(tmp_path / "m.safetensors"))
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in model.state_dict().items())


def test_half_precision_in_a_file_is_widened_as_it_is_copied(tmp_path: Path) -> None:
    made, model = tiny()
    save(model.state_dict(), tmp_path / "m.safetensors", dtype=torch.float16)
    again = build(made, Checkpoint(tmp_path / "m.safetensors"))
    assert again.fc.weight.dtype == torch.float32
    assert torch.equal(again.fc.weight, model.fc.weight.half().float())
