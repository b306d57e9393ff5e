"""Linear layers by oneDNN, against torch's own."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from soup.config.params import Base
from soup.data.text.examples import as_text_examples
from soup.data.text.texts import Text
from soup.models import onednn, timm_models
from soup.models.inputs import text_input_of
from soup.models.transformers_init import make_base
from soup.train.loop import Batch, fit
from soup.train.losses import cross_entropy
from soup.train.optimizer import StepConfig
from soup.train.schedule import Schedule
from tests import text_worlds

PRODUCT = "aten::mkldnn_linear"
needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN"
)


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor where it is faster."""
    monkeypatch.setattr(onednn, "faster", lambda: True)


def products(module: nn.Module, *inputs: Tensor) -> int:
    """How many products oneDNN computes in a forward pass."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        module(*inputs)
    return sum(event.count for event in seen.key_averages() if event.key == PRODUCT)


def changed(module: nn.Module) -> nn.Module:
    copied = copy.deepcopy(module)
    onednn.multiply_by_onednn(copied)
    return copied


@needs_onednn
@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 12), (3, 7, 12)])
def test_outputs_and_gradients_are_those_of_torch(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(12, 9, bias=bias)
    ours = changed(plain)
    inputs = torch.randn(shape)
    given = [inputs.clone().requires_grad_(True) for _ in range(2)]
    outputs = [layer(x) for layer, x in zip((plain, ours), given, strict=True)]
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(outputs[1], outputs[0])
    torch.testing.assert_close(given[1].grad, given[0].grad)
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name).grad, parameter.grad)
    assert products(ours, inputs) == 1
    assert products(plain, inputs) == 0


@needs_onednn
@pytest.mark.usefixtures("forced")
def test_names_and_values_stay_and_other_layers_are_left_alone() -> None:
    class Own(nn.Linear):
        pass

    plain = nn.Sequential(nn.Linear(4, 4), Own(4, 4))
    ours = changed(plain)
    torch.testing.assert_close(ours.state_dict(), plain.state_dict(), rtol=0, atol=0)
    assert [type(layer) for layer in ours] == [onednn.Linear, Own]  # type: ignore[attr-defined]


@needs_onednn
@pytest.mark.usefixtures("forced")
def test_other_numbers_than_float32_are_left_to_torch() -> None:
    layer, inputs = changed(nn.Linear(4, 4)), torch.randn(2, 4)
    assert products(layer, inputs) == 1
    with torch.autocast("cpu", torch.bfloat16):
        assert products(layer, inputs) == 0
        assert layer(inputs).dtype == torch.bfloat16
    assert products(layer.double(), inputs.double()) == 0
    assert layer.to("meta", torch.float32)(inputs.to("meta")).shape == (2, 4)


@needs_onednn
@pytest.mark.usefixtures("forced")
def test_vision_transformers_multiply_by_it_and_no_other_model_of_timm() -> None:
    small = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 1, "num_heads": 2}
    pixels = torch.randn(2, 3, 32, 32)
    model = timm_models.create("vit_tiny_patch16_224", small, 3).eval()
    assert products(model, pixels) == 5  # qkv, projection, two of the MLP, and the head
    plain = timm.create_model("vit_tiny_patch16_224", num_classes=3, **small).eval()
    plain.load_state_dict(model.state_dict())
    assert products(plain, pixels) == 0
    torch.testing.assert_close(model(pixels), plain(pixels))
    resnet = timm_models.create("resnet10t", {"channels": [8, 8, 8, 8], "stem_width": 4}, 3)
    assert products(resnet.eval(), pixels) == 0


def test_other_processors_keep_what_torch_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "faster", lambda: False)
    assert products(changed(nn.Linear(4, 4)), torch.randn(2, 4)) == 0


@pytest.mark.parametrize(
    ("vendor", "capability", "expected"),
    [
        ("AuthenticAMD", "AVX512", True),
        ("AuthenticAMD", "AVX2", False),
        ("GenuineIntel", "AVX512", False),
    ],
)
def test_it_is_for_amd_processors_with_avx512(
    monkeypatch: pytest.MonkeyPatch, vendor: str, capability: str, expected: bool
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_: f"vendor_id : {vendor}\n")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    for backend in (torch.backends.mkl, torch.backends.mkldnn):
        monkeypatch.setattr(backend, "is_available", lambda: True)
    assert onednn.faster.__wrapped__() is expected


@needs_onednn
def test_a_fine_tune_ends_where_torch_s_own_products_lead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten steps of AdamW on a tiny BERT; the order of sums alone differs."""
    folder = text_worlds.tiny(tmp_path, "bert")
    architecture, model, _ = make_base(
        Base(library="transformers", model=str(folder)), ("no", "yes")
    )
    texts = [Text(f"the {noun} likes a dog") for noun in text_worlds.NOUNS]
    examples = as_text_examples(texts, text_input_of(architecture))
    inputs = examples.prepare(examples.compact(torch.arange(len(texts)).numpy()))

    def batches(_: int, skip: int) -> Iterator[Batch]:
        for _ in range(skip, 10):
            yield inputs, torch.arange(len(texts)) % 2

    def trained(by_onednn: bool) -> dict[str, Tensor]:
        monkeypatch.setattr(onednn, "faster", lambda: by_onednn)
        copied = copy.deepcopy(model)
        assert (products(copied, inputs) > 0) is by_onednn
        plan = Schedule(1, 10, lr=1e-3, warmup=0.1, seed=0)
        fit(copied, batches, cross_entropy(), plan, StepConfig(weight_decay=0.1))
        return copied.state_dict()

    plain, ours, before = trained(False), trained(True), model.state_dict()
    for name, values in plain.items():
        torch.testing.assert_close(ours[name], values, rtol=0, atol=2e-5, msg=name)
    moved = max(float((plain[n] - before[n]).abs().max()) for n in plain)
    assert moved > 2e-3  # a hundred times what is allowed above
