"""Text classifiers of transformers, against transformers itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from soup.config.params import Base
from soup.data.text.examples import as_text_examples
from soup.data.text.texts import Text
from soup.errors import BadInput
from soup.evaluation.predict import predict
from soup.models import Architecture, ModelError, head_weights, open_model
from soup.models.inputs import text_input_of
from soup.models.layer_groups import checkpoint_gradients, parameter_groups, set_drop_path
from soup.models.text_input import TokenizerError
from soup.models.transformers_init import make_base, require
from soup.models.transformers_models import features, head
from soup.weights.checkpoint import save
from tests import text_worlds

KINDS = (
    "bert", "roberta", "distilbert", "electra", "albert", "mpnet", "deberta", "deberta-v2",
    "modernbert", "camembert", "xlm-roberta", "t5",
)  # fmt: skip
CLASSES = ("no", "perhaps", "yes")
TEXTS = [
    Text("the cat likes a dog"),
    Text("an owl", "hates the ant today and now and then"),
    Text("a fox"),
    Text("a bee adores the eel very much again and again here"),
]


def texts_for(model: torch.nn.Module) -> list[Text]:
    """T5 counts the ends of texts, of which a pair has two: no single texts beside pairs."""
    named: Any = model
    return [t for t in TEXTS if named.config.model_type != "t5" or t.pair is None]


def base_of(folder: Path, **changes: Any) -> Base:
    return Base(library="transformers", model=str(folder), **changes)


def kind_config(kind: str) -> dict[str, Any]:
    if kind == "albert":
        return {"embedding_size": 16}
    if kind == "modernbert":
        return {"global_attn_every_n_layers": 1, "local_attention": 8}
    return {}


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp(request.param)
    return text_worlds.tiny(root, request.param, **kind_config(request.param))


def written(folder: Path, target: Path, **changes: Any) -> Path:
    """A base with a random head, as a model folder of ours."""
    architecture, model, _ = make_base(base_of(folder, **changes), CLASSES)
    torch.nn.init.normal_(head(model).weight)
    architecture.save(target / "model.json")
    save(model.state_dict(), target / "model.safetensors")
    return target


def logits_by_transformers(folder: Path) -> Tensor:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model, info = AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(info.values()), info
    assert model.dtype == torch.float32
    assert model.config.id2label == dict(enumerate(CLASSES))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        return torch.cat(
            [
                model.eval()(**tokenizer(text, pair, return_tensors="pt", truncation=True)).logits
                for text, pair in texts_for(model)
            ]
        )


def test_transformers_opens_the_folder_with_nothing_missing_and_answers_alike(
    folder: Path, tmp_path: Path
) -> None:
    made = written(folder, tmp_path)
    architecture, model = open_model(made)
    examples = as_text_examples(texts_for(model), text_input_of(architecture))
    ours = predict(model, examples, batch_size=2)
    assert np.abs(ours - logits_by_transformers(made).numpy()).max() < 1e-4
    kept = {name: p.data_ptr() for name, p in model.state_dict().items()}
    if architecture.config["model_type"] == "t5":  # tied embeddings stay tied
        names = [f"transformer.{part}embed_tokens.weight" for part in ("encoder.", "decoder.")]
        assert kept["transformer.shared.weight"] == kept[names[0]] == kept[names[1]]


def test_features_are_what_the_head_maps_to_logits(folder: Path, tmp_path: Path) -> None:
    architecture, model = open_model(written(folder, tmp_path))
    inputs = (
        as_text_examples(texts_for(model), text_input_of(architecture)).compact(np.arange(3)).long()
    )
    with torch.no_grad():
        assert torch.allclose(head(model)(features(model, inputs)), model(inputs), atol=1e-6)
    weight = next(iter(head_weights(architecture, model).values()))
    assert weight.shape == head(model).weight.shape


def test_a_new_head_is_zero_and_layers_that_the_weights_lack_are_always_the_same(
    folder: Path,
) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    _, model, note = make_base(base_of(folder), CLASSES)
    torch.testing.assert_close(torch.get_rng_state(), before)
    torch.manual_seed(2)
    _, again, _ = make_base(base_of(folder), CLASSES)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )
    assert not head(model).weight.any()
    assert (note == "") or "random, seed 0" in note


def test_layers_are_ordered_from_the_embeddings_to_the_head(folder: Path) -> None:
    _, model, _ = make_base(base_of(folder), CLASSES)
    groups = parameter_groups(model, 0.1, layer_decay=0.5)
    scale_of = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    named = dict(model.named_parameters())
    head_scales = {scale_of[id(p)] for p in head(model).parameters()}
    assert head_scales == {1.0}
    embeddings = next(name for name in named if "embed" in name or "shared" in name)
    assert scale_of[id(named[embeddings])] == min(scale_of.values())
    assert len({*scale_of.values()}) >= 3
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    wrong = [n for n, p in named.items() if (id(p) in decayed) != (p.ndim > 1)]
    assert wrong == []


def test_gradients_are_the_same_when_activations_are_computed_again(
    folder: Path, tmp_path: Path
) -> None:
    architecture, model = open_model(written(folder, tmp_path))
    inputs = (
        as_text_examples(texts_for(model), text_input_of(architecture)).compact(np.arange(3)).long()
    )
    gradients = []
    timm_model: Any = model
    if not timm_model.supports_gradient_checkpointing:
        with pytest.raises(ModelError, match="has no gradient checkpointing"):
            checkpoint_gradients(model)
        return
    for again in (False, True):
        timm_model.set_grad_checkpointing(again)
        model.zero_grad()
        model.eval()  # dropout would draw
        model(inputs).logsumexp(1).sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*gradients, strict=True))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_worlds.tiny(tmp_path_factory.mktemp("bert"))


def test_weights_of_half_precision_become_float32(tmp_path: Path) -> None:
    half = text_worlds.tiny(tmp_path, dtype=torch.bfloat16)
    assert json.loads((half / "config.json").read_text())["dtype"] == "bfloat16"
    architecture, model, _ = make_base(base_of(half), CLASSES)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert architecture.config["dtype"] == "float32"


def test_a_description_says_nothing_of_images_and_is_read_as_it_was(
    bert: Path, tmp_path: Path
) -> None:
    made = written(bert, tmp_path, max_length=20)
    architecture = Architecture.load(made / "model.json")
    assert not {"image_size", "mean", "crop_pct"} & json.loads(architecture.text()).keys()
    assert architecture.max_length == 20
    assert architecture.tokenizer["tokenizer.json"] == (made / "tokenizer.json").read_text()


def test_a_kept_head_gets_the_order_of_our_classes(bert: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    names = ("yes", "no", "perhaps")
    config = AutoConfig.from_pretrained(bert, id2label=dict(enumerate(names)))
    model = AutoModelForSequenceClassification.from_pretrained(bert, config=config)
    torch.nn.init.normal_(model.classifier.bias)
    model.save_pretrained(tmp_path)
    text_worlds.write_tokenizer(tmp_path)
    _, kept, _ = make_base(base_of(tmp_path, head="keep"), CLASSES)
    order = [names.index(name) for name in CLASSES]
    assert torch.equal(head(kept).bias, model.classifier.bias[order])
    with pytest.raises(ModelError, match=r"knows the classes yes, no, perhaps, the data has a, b"):
        make_base(base_of(tmp_path, head="keep"), ("a", "b"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "of a model of type 'gpt2'; text classifiers of"),
        ({"auto_map": {"AutoModel": "code.Model"}}, "names code, files or devices"),
        ({"_attn_implementation": "some/kernel"}, "names code, files or devices"),
        ({"hidden_act": "https://somewhere"}, "no word"),
        ({"hidden_size": 1 << 30}, "beyond"),
        ({"hidden_size": 48}, "do not fit|cannot be had"),
    ],
)
def test_a_config_that_is_not_of_these_weights_or_asks_for_more_is_refused(
    bert: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    for file in bert.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        make_base(base_of(tmp_path), CLASSES)


def test_weights_of_another_architecture_are_refused(bert: Path, tmp_path: Path) -> None:
    other = text_worlds.tiny(tmp_path, "distilbert")
    with pytest.raises(
        ModelError, match=r"(?s)do not fit a BertForSequenceClassification.*missing: "
    ):
        make_base(base_of(bert, weights=str(other)), CLASSES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_length": 100}, "takes 40 tokens, not 100"),
        ({"kwargs": {"hidden_dropout": 0.2}}, "has no hidden_dropout"),
        ({"tokenizer": "/nowhere"}, "tokenizer of /nowhere cannot be had"),
        ({"weights": "/nowhere"}, "weights of /nowhere cannot be had"),
    ],
)
def test_what_cannot_be_had_is_told(bert: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make_base(base_of(bert, **change), CLASSES)


def test_a_tokenizer_of_another_model_is_refused_with_both_vocabularies(
    bert: Path, tmp_path: Path
) -> None:
    other = text_worlds.tiny(tmp_path, vocab_size=len(text_worlds.WORDS) - 5)
    sizes = r"belong to .*it has 37 tokens, the model's vocabulary 32"
    with pytest.raises(TokenizerError, match=sizes):
        make_base(base_of(other, tokenizer=str(bert)), CLASSES)


def test_a_folder_without_a_config_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither a folder with a config\.json"):
        require(base_of(tmp_path))


def test_there_is_no_drop_path(bert: Path) -> None:
    architecture, model, _ = make_base(base_of(bert), CLASSES)
    with pytest.raises(ModelError, match="has no drop path; set it to 0"):
        set_drop_path(model, architecture, 0.1)


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer": {"../tokenizer.json": "{}"}},
        {"tokenizer": {"config.json": "{}"}},
        {"config": {"model_type": "bert", "auto_map": "a"}},
        {"config": {"model_type": "unheard"}},
        {"kwargs": {"depth": 1}},
        {"max_length": 0},
    ],
)
def test_descriptions_of_others_hold_no_more_than_a_network_and_a_tokenizer(
    bert: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    architecture, _, _ = make_base(base_of(bert), CLASSES)
    architecture.save(tmp_path / "model.json")
    told = json.loads((tmp_path / "model.json").read_text()) | change
    with pytest.raises(ModelError, match="is refused"):
        Architecture.parse(json.dumps(told), "its description")
