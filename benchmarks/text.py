"""Compare fine-tuning and evaluation of a text model with transformers' own Trainer.

    pip install accelerate  # the Trainer needs it
    python benchmarks/text.py MODEL TABLE.tsv [--task cola] [--examples 512] [--batch 32] [--bf16]

MODEL is the folder of a BERT or a similar model. Both programs train one epoch of the same texts
with AdamW and the same batch size, gradient clipping and threads. The Trainer has its best
settings: texts tokenised in advance, grouped by length and padded to the longest of a batch, fused
AdamW. The rows:

- `train`: an epoch of fine-tuning, in float32 or, with --bf16 (which prints this row alone), in
  bfloat16;
- `predict`: a forward pass of the texts for another candidate, after a first one filled the caches;
- `second evaluation`: the logits of a model on a split for the second time. The pipeline reads them
  from MLflow's store, by the digest of the weights, which it computes each time; the Trainer
  predicts again.

Seconds are those of the processor, which other programs change less than those of the clock. Both
programs have one thread and take turns for some rounds; each figure is the best round's. Padding
tokens are not counted.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
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

from soup.config.data import Source as Table
from soup.config.params import Base
from soup.config.text import TextData
from soup.data.text.examples import TextExamples
from soup.data.text.listing import listed
from soup.data.text.texts import Text
from soup.data.text.tokens import tokens_of
from soup.evaluation.predict import predict
from soup.evaluation.prediction_cache import PredictionCache, Source, digest_of
from soup.evaluation.targets import among_present
from soup.models.inputs import text_input_of
from soup.models.transformers_init import make_base
from soup.tracking import Store, prediction_store
from soup.train.loop import fit
from soup.train.losses import cross_entropy
from soup.train.optimizer import StepConfig
from soup.train.schedule import Schedule
from soup.train.text_batches import tokens

CPU = torch.device("cpu")
LENGTH = 128


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


class Ours:
    def __init__(
        self, folder: str, texts: list[Text], labels: list[int], batch: int, bf16: bool
    ) -> None:
        base = Base(library="transformers", model=folder, max_length=LENGTH)
        architecture, self.model, _ = make_base(base, ("0", "1"))
        encode, _, pad = text_input_of(architecture)
        known = tokens_of(texts, encode)
        self.texts = TextExamples(np.array(labels), "", pad, lambda: known)
        self.batch, self.count = batch, int(known.lengths.sum())
        self.config = StepConfig(weight_decay=0.01, precision="bfloat16" if bf16 else "float32")
        folder = Path(tempfile.mkdtemp())
        store = Store(f"sqlite:///{folder}/mlflow.db", "benchmark", folder / "artifacts")
        self.kept = PredictionCache(
            {"test": self.texts},
            {"test": among_present("test", self.texts.labels)},
            architecture,
            lambda _, examples: predict(self.model, examples, self.batch),
            ("test",),
            partial(prediction_store.find, store),
            partial(prediction_store.keep, store),
        )
        weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        run_id = store.start("ingredient", "digest", "model")
        self.source = Source(
            "model", "ingredient", run_id, lambda: weights, lambda: digest_of(weights)
        )

    def train(self) -> None:
        schedule = Schedule(1, len(self.texts) // self.batch, 1e-5, 0.1, 0)
        batches = tokens(self.texts, self.batch, 0, CPU)
        fit(self.model, batches, cross_entropy(), schedule, self.config)

    def predict(self) -> None:
        predict(self.model, self.texts, self.batch)

    def second_evaluation(self) -> None:
        self.kept(self.source, "test")


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
    def __init__(
        self, folder: str, texts: list[Text], labels: list[int], batch: int, bf16: bool
    ) -> None:
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
            bf16=bf16,
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

    def predict(self) -> None:
        self.trainer.predict(self.rows)

    second_evaluation = predict


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("table")
    parser.add_argument("--task", default="cola")
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    table = listed(
        Table(path=options.table), TextData(task=options.task), Path.cwd(), "train"
    ).found[: options.examples]
    names = sorted({item.label for item in table})
    texts, labels = [item.text for item in table], [names.index(item.label) for item in table]
    given = (options.model, texts, labels, options.batch, options.bf16)
    ours, theirs = Ours(*given), Theirs(*given)
    rows = ["train"] if options.bf16 else ["train", "predict", "second_evaluation"]
    if not options.bf16:
        for side in (ours, theirs):
            side.predict()
        ours.second_evaluation()  # the first
    best: dict[tuple[str, Any], float] = {}
    for _ in range(options.rounds):
        for row in rows:
            for side in (ours, theirs):
                taken = seconds(getattr(side, row))
                best[row, side] = min(taken, best.get((row, side), taken))
    print(f"{machine()}, transformers {transformers.__version__}, one thread")
    precision = "bfloat16" if options.bf16 else "float32"
    print(f"{len(texts)} texts of {options.task}, {ours.count} tokens, {precision}")
    for row in rows:
        speeds = [ours.count / best[row, side] for side in (ours, theirs)]
        print(
            f"{row:18} modelsoup {best[row, ours]:7.2f} s {speeds[0]:8.0f} tokens/s, "
            f"Trainer {best[row, theirs]:7.2f} s {speeds[1]:8.0f} tokens/s, "
            f"ratio {speeds[0] / speeds[1]:.2f}"
        )


if __name__ == "__main__":
    main()
