"""What the reader of a how-to page has before its first command."""

import os
import random
import shutil
from pathlib import Path

import timm
import torch

from soup.weights.checkpoint import save
from tests import text_worlds
from tests.checkouts import REPO
from tests.worlds import COLOURS, draw

Model = dict[str, torch.Tensor]


def images() -> None:
    for first, folder in enumerate(("heldout", "test")):
        draw(Path(folder), dict.fromkeys(COLOURS, 4), (64, 64), 100 * first)


def fine_tunes(count: int) -> tuple[Model, list[Model]]:
    """A model of three classes, and models near it."""
    torch.manual_seed(0)
    base = timm.create_model("resnet10t", num_classes=3).state_dict()
    near = [
        {n: t + 0.01 * torch.randn_like(t) * t.abs() if t.is_floating_point() else t
         for n, t in base.items()}
        for _ in range(count)
    ]  # fmt: skip
    return base, near


def lightning() -> None:
    """Files as Lightning writes them: the weights below `state_dict`, and the state of the run."""
    images()
    for name, weights in zip("abc", fine_tunes(3)[1], strict=True):
        state = {f"model.{key}": tensor for key, tensor in weights.items()}
        file = {"epoch": 3, "global_step": 900, "pytorch-lightning_version": "2.5.0",
                "state_dict": state, "optimizer_states": [{"state": {}}], "loops": {},
                "callbacks": {}, "lr_schedulers": []}  # fmt: skip
        torch.save(file, f"{name}.ckpt")


def three() -> None:
    images()
    base, models = fine_tunes(3)
    save(base, "base.safetensors")
    for name, weights in zip("abc", models, strict=True):
        save(weights, f"{name}.safetensors")


def folders() -> None:
    """Three fine-tunes as timm writes them."""
    images()
    for name, weights in zip("abc", fine_tunes(3)[1], strict=True):
        model = timm.create_model("resnet10t", num_classes=3)
        model.load_state_dict(weights)
        model.pretrained_cfg = {**model.pretrained_cfg, "input_size": (3, 64, 64)}
        names = {"label_names": sorted(COLOURS)}
        timm.models.save_for_hf(model, f"models/{name}", names, safe_serialization=True)


def one_run() -> None:
    images()
    _, models = fine_tunes(4)
    for step, weights in zip((1000, 2000, 3000, 4000), models, strict=True):
        save(weights, f"step{step}.safetensors")
    torch.save({"state_dict": models[0], "state_dict_ema": models[1]}, "run.pt")


def texts() -> None:
    """Three classifiers as `save_pretrained` writes them, and tables."""
    tables()
    from transformers import AutoModelForSequenceClassification

    base = text_worlds.tiny(Path("base"))
    for index in range(3):
        torch.manual_seed(0)
        labels = {0: "no", 1: "yes"}
        model = AutoModelForSequenceClassification.from_pretrained(
            base, id2label=labels, label2id={name: key for key, name in labels.items()}
        )
        torch.manual_seed(index)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape))
        model.save_pretrained(f"run{index}")
        text_worlds.write_tokenizer(Path(f"run{index}"))


def tables() -> None:
    for seed, name in enumerate(("heldout", "test")):
        rng = random.Random(seed)
        lines = [f"{text_worlds.sentence(rng, k % 2)},{['no', 'yes'][k % 2]}" for k in range(80)]
        Path(f"{name}.csv").write_text("\n".join(["text,label", *lines]) + "\n")


def adapters() -> None:
    """A classifier, and three adapters that PEFT writes for it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    tables()
    encoder = text_worlds.tiny(Path("encoder"))
    torch.manual_seed(0)
    whole = AutoModelForSequenceClassification.from_pretrained(
        encoder, id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1}
    )
    whole.save_pretrained("base")
    text_worlds.write_tokenizer(Path("base"))
    for index in (1, 2, 3):
        model = AutoModelForSequenceClassification.from_pretrained("base")
        settings = LoraConfig(r=4, target_modules=["query", "value"], task_type="SEQ_CLS")
        wrapped = get_peft_model(model, settings)
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.data += 0.01 * torch.randn_like(parameter)
        wrapped.save_pretrained(f"adapter{index}")


def registry() -> None:
    """A project whose registry has a champion, and a better challenger."""
    from soup.evaluation.promotion_gate import Decision
    from soup.tracking import promote
    from tests.registries import open_store, registered

    store = open_store(Path().absolute())
    os.environ["MLFLOW_TRACKING_URI"] = store.uri  # a fixture of all tests takes it back
    os.environ["MODELSOUP_ACTOR"] = "ada@lab"
    shutil.copy(REPO / "params.yaml", ".")
    first = registered(store, "shapes-soup", range(9))
    promote(store, first, lambda _: Decision(True, "the first champion"))
    registered(store, "shapes-soup", range(3))


def nothing() -> None:
    """The page brings all it needs."""


GIVEN = {
    "honest-selection.md": nothing,
    "how-to/lightning.md": lightning,
    "how-to/training-script.md": nothing,
    "how-to/hugging-face-text.md": texts,
    "how-to/one-run.md": one_run,
    "how-to/no-gain.md": three,
    "how-to/adapters.md": adapters,
    "how-to/promote.md": registry,
    "how-to/ray.md": nothing,
    "how-to/share.md": three,
    "how-to/try.md": folders,
}
