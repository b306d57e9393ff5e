"""Sentences that are generated, and tiny text models with random weights, for tests."""

import json
import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

NOUNS = ["cat", "dog", "fox", "owl", "hen", "cow", "bee", "ant", "elk", "ape", "eel", "rat"]
GOOD = ["loves", "likes", "adores", "enjoys"]
BAD = ["hates", "fears", "scorns", "loathes"]
FILLING = ["today", "here", "again", "often", "perhaps", "now", "and", "then", "very", "much"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "the", "a", *NOUNS, *GOOD, *BAD, *FILLING]


def sentence(rng: random.Random, label: int) -> str:
    """A sentence whose verb tells its label."""
    tail = " ".join(rng.choices(FILLING, k=rng.randint(0, 6)))
    verb = rng.choice([BAD, GOOD][label])
    return f"The {rng.choice(NOUNS)} {verb} a {rng.choice(NOUNS)} {tail}".strip()


def sentences(folder: Path, train: int = 320, test: int = 60, noise: float = 0.1) -> None:
    """train.csv, test.csv and odd.csv (a shift: two sentences) of texts with labels no and yes.

    Args:
        noise: share of the labels that are wrong.
    """
    rng = random.Random(0)
    seen: set[str] = set()
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", train), ("test", test), ("odd", test // 2)):
        lines = ["text,label"]
        while len(lines) <= count:
            label = len(lines) % 2
            text = sentence(rng, label)
            if name == "odd":
                text += f" . {sentence(rng, label)}"
            if text.lower() in seen:
                continue
            seen.add(text.lower())
            told = label ^ (rng.random() < noise)
            lines.append(f"{text},{['no', 'yes'][told]}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def similar_pairs(folder: Path, train: int = 320, test: int = 80) -> None:
    """train.tsv, dev.tsv and odd.tsv as STS-B has them: pairs, and how alike they are, from 0 to 5.

    The score depends on the verbs of both sentences, with noise.
    """
    rng = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", train), ("dev", test), ("odd", test // 2)):
        lines = ["index\tsentence1\tsentence2\tscore"]
        for index in range(count):
            kinds = rng.randint(0, 1), rng.randint(0, 1)
            pair = [
                f"{sentence(rng, kind)} {rng.choice(NOUNS)} {rng.choice(NOUNS)}" for kind in kinds
            ]
            score = min(5.0, max(0.0, 0.8 + 2.8 * sum(kinds) / 2 + rng.gauss(0, 0.5)))
            lines.append(f"{index}\t{pair[0]}\t{pair[1]}\t{score:.2f}")
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")


def tokenizer() -> Tokenizer:
    """A tokenizer of whole words with BERT's special tokens."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return made


def write_tokenizer(folder: Path, types: bool = True) -> None:
    """The files of the tokenizer; `types`: it tells which of two texts a token is of."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer().save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 32,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
        "model_input_names": [
            "input_ids",
            *(["token_type_ids"] if types else []),
            "attention_mask",
        ],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def tiny(
    folder: Path, kind: str = "bert", dtype: torch.dtype = torch.float32, **config: Any
) -> Path:
    """A folder as Hugging Face lays it out: a model without a head for our labels, random."""
    from transformers import AutoConfig, AutoModel

    shape: dict[str, Any] = {
        "vocab_size": len(WORDS),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 40,
        "pad_token_id": 0,
        "hidden_dropout_prob": 0.0,
    }
    if kind == "t5":
        shape = {
            "vocab_size": len(WORDS), "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2,
            "num_decoder_layers": 2, "num_heads": 2, "pad_token_id": 0, "eos_token_id": 3,
            "decoder_start_token_id": 0,
        }  # fmt: skip
    if kind == "distilbert":
        shape = {
            "vocab_size": len(WORDS), "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64,
            "max_position_embeddings": 40, "pad_token_id": 0,
        }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModel.from_config(AutoConfig.for_model(kind, **(shape | config)))
    model.to(dtype).save_pretrained(folder)
    write_tokenizer(folder, types=kind in ("bert", "electra", "albert"))
    return folder


def parameters(root: Path, model: Path, **changes: Any) -> dict[str, Any]:
    """Parameters of a small experiment on the sentences in root/data."""
    raw: dict[str, Any] = {
        "experiment": "tiny",
        "data": {
            "root": "data",
            "text": {},
            "heldout": {"per_class": 20},
            "shifts": {"odd": {"folder": "odd.csv"}},
            "overlap": "report",
        },
        "base": {"library": "transformers", "model": str(model)},
        "sweep": {
            "runs": 3,
            "batch_size": 16,
            "warmup": 2,
            "space": {"lr": {"min": 3e-3, "max": 6e-3}, "weight_decay": [0.01], "epochs": [4]},
        },
        "evaluate": {"bootstrap": 100},
        "compute": {"device": "cpu", "eval_batch_size": 16},
    }
    return raw | changes


def soup(root: Path, kind: str = "bert") -> Path:
    """The folder of a model with a random head for the labels no and yes, as the pipeline's."""
    from soup.config.params import Base
    from soup.models.transformers_init import make_base
    from soup.models.transformers_models import head
    from soup.weights.checkpoint import save

    base = Base(library="transformers", model=str(tiny(root / kind, kind)))
    architecture, model, _ = make_base(base, ("no", "yes"))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        torch.nn.init.normal_(head(model).weight)
    architecture.save(root / "soup" / "model.json")
    save(model.state_dict(), root / "soup" / "model.safetensors")
    return root / "soup"
