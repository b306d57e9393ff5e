"""Compare fine-tuning and evaluation of a text model with transformers' own Trainer.

    pip install accelerate  # the Trainer needs it
    python benchmarks/text.py MODEL TABLE.tsv [--task cola] [--examples 512] [--batch 32]

MODEL is the folder of a BERT or a similar model. Both programs train one epoch of the same texts
with AdamW and the same batch size, gradient clipping and threads. The Trainer has its best
settings: texts tokenised in advance, grouped by length and padded to the longest of a batch, fused
AdamW. Evaluation predicts all texts twice, and the second time counts, when caches are filled. The
programs take turns for some rounds, so that a busy moment affects both, and each figure is the best
round's. Padding tokens are not counted.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from machine import machine
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from soup.config.data import Source
from soup.config.params import Base
from soup.config.text import TextData
from soup.data.text.examples import TextExamples
from soup.data.text.listing import listed
from soup.data.text.texts import Text
from soup.data.text.tokens import tokens_of
from soup.evaluation.predict import predict
from soup.models.inputs import text_input_of
from soup.models.transformers_init import make_base
from soup.train.loop import fit
from soup.train.losses import cross_entropy
from soup.train.optimizer import StepConfig
from soup.train.schedule import Schedule
from soup.train.text_batches import tokens

CPU = torch.device("cpu")
LENGTH = 128


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class Ours:
    def __init__(self, folder: str, texts: list[Text], labels: list[int], batch: int) -> None:
        base = Base(library="transformers", model=folder, max_length=LENGTH)
        architecture, self.model, _ = make_base(base, ("0", "1"))
        encode, _, pad = text_input_of(architecture)
        known = tokens_of(texts, encode)
        self.texts = TextExamples(np.array(labels), "", pad, lambda: known)
        self.batch, self.count = batch, int(known.lengths.sum())

    def train(self) -> None:
        schedule = Schedule(1, len(self.texts) // self.batch, 1e-5, 0.1, 0)
        batches = tokens(self.texts, self.batch, 0, CPU)
        fit(self.model, batches, cross_entropy(), schedule, StepConfig(weight_decay=0.01))

    def evaluate(self) -> None:
        predict(self.model, self.texts, self.batch)


class Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """Tokens in the form that the Trainer takes."""

    def __init__(self, texts: list[Text], labels: list[int], tokenizer: Any) -> None:
        first = [text.text for text in texts]
        second = None if texts[0].pair is None else [text.pair for text in texts]
        encoded = tokenizer(first, second, truncation=True, max_length=LENGTH)
        self.rows = [
            {name: values[index] for name, values in encoded.items()} | {"labels": label}
            for index, label in enumerate(labels)
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


class Theirs:
    def __init__(self, folder: str, texts: list[Text], labels: list[int], batch: int) -> None:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=2, dtype=torch.float32
        )
        self.rows = Rows(texts, labels, tokenizer)
        settings = TrainingArguments(
            tempfile.mkdtemp(),
            per_device_train_batch_size=batch,
            per_device_eval_batch_size=batch,
            num_train_epochs=1,
            learning_rate=1e-5,
            weight_decay=0.01,
            max_grad_norm=1.0,
            train_sampling_strategy="group_by_length",
            optim="adamw_torch_fused",
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            dataloader_drop_last=True,
        )
        self.trainer = Trainer(
            model=model,
            args=settings,
            train_dataset=self.rows,
            data_collator=DataCollatorWithPadding(tokenizer),
            processing_class=tokenizer,
        )

    def train(self) -> None:
        self.trainer.train()

    def evaluate(self) -> None:
        self.trainer.predict(self.rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("table")
    parser.add_argument("--task", default="cola")
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    table = listed(
        Source(path=options.table), TextData(task=options.task), Path.cwd(), "train"
    ).found[: options.examples]
    names = sorted({item.label for item in table})
    texts, labels = [item.text for item in table], [names.index(item.label) for item in table]
    both = {
        "modelsoup": Ours(options.model, texts, labels, options.batch),
        "transformers' Trainer": Theirs(options.model, texts, labels, options.batch),
    }
    best: dict[tuple[str, str], float] = {}
    for _ in range(options.rounds):
        for what in ("train", "evaluate"):
            for name, side in both.items():
                if what == "evaluate":
                    side.evaluate()
                taken = seconds(getattr(side, what))
                best[what, name] = min(taken, best.get((what, name), taken))
    count = both["modelsoup"].count  # type: ignore[union-attr]
    print(f"{machine()}, transformers {transformers.__version__}, one thread")
    print(f"{len(texts)} texts of {options.task}, {count} tokens, batches of {options.batch}")
    for what in ("train", "evaluate"):
        for name in both:
            taken = best[what, name]
            print(f"{what:9} {name:22} {taken:7.2f} s {count / taken:9.0f} tokens/s")
        ratio = best[what, "transformers' Trainer"] / best[what, "modelsoup"]
        print(f"{what:9} {'ratio':22} {ratio:7.2f} x")


if __name__ == "__main__":
    main()
