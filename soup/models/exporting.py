"""A model for programs without PyTorch's Python: as ONNX, or as a program of `torch.export`.

The input of a model of images is normalised pixels, `images` (batch, 3, height, width). That of a
model of texts is what its tokenizer makes: `input_ids`, `attention_mask` and, for the kinds that
tell two texts apart, `token_type_ids`, each (batch, length). The output is `logits`
(batch, classes). The batch may have any size, and texts any length.
"""

import inspect
import io
import re
import traceback
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from soup.errors import BadInput, Failure, missing_extra
from soup.files import atomic_write
from soup.models.architecture import Architecture, ModelError
from soup.models.building import build, load_weights
from soup.weights import Weights

Inputs = Mapping[str, Tensor]
FORMATS = {"onnx": ".onnx", "torch": ".pt2"}
OUTPUT = "logits"
TOKENS = ("input_ids", "attention_mask", "token_type_ids")
OPERATOR = re.compile(
    r"\b((?:aten|prims|torchvision|quantized|mkldnn|_c10d_functional)(?:\.|::)\w+)"
)
LARGEST = 2 << 30  # bytes of a file of ONNX: protobuf has no larger messages


class NotExported(Failure):
    """A model cannot be exported; the message names the operator or the line that is why."""


class _Named(nn.Module):
    """A model of transformers whose inputs are given by position, and whose output is logits."""

    def __init__(self, model: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *tokens: Tensor) -> Tensor:
        logits: Tensor = self.model(**dict(zip(self.names, tokens, strict=True))).logits
        return logits


def exportable(architecture: Architecture, weights: Weights) -> tuple[nn.Module, tuple[str, ...]]:
    """A model in plain PyTorch, without kernels of this project, and the names of its inputs.

    Raises:
        ModelError: the weights do not fit, or the model writes labels.
    """
    if not architecture.of_text:
        return build(architecture, weights).to(memory_format=torch.contiguous_format), ("images",)
    if architecture.writes_labels:
        raise ModelError(
            f"{architecture.model} writes labels as text, step by step, and is not exported"
        )
    from soup.models import transformers_models as library

    kind = library.kind_of(architecture)
    model = kind.from_config(
        library.config_of(architecture), dtype=torch.float32, attn_implementation="eager"
    )
    load_weights(model, weights, architecture.model)
    taken = inspect.signature(model.forward).parameters
    typed = getattr(model.config, "type_vocab_size", 0) > 1
    names = tuple(n for n in TOKENS if n in taken and (typed or n != "token_type_ids"))
    return _Named(model.eval(), names).eval(), names


def export(model: nn.Module, inputs: Inputs, file: Path, form: str, note: str) -> None:
    """Write a model to a file.

    Args:
        model: of `exportable`.
        inputs: example inputs by name, with a batch of at least two.
        form: 'onnx' or 'torch'.
        note: the description of the model, kept in the file.

    Raises:
        NotExported: an operator has no translation, or the model cannot be traced.
        BadInput: a package is missing.
    """
    shapes = tuple(_any_size(name, tensor) for name, tensor in inputs.items())
    # Of a module that takes any number of inputs, they are one argument.
    dynamic: Any = (shapes,) if isinstance(model, _Named) else shapes
    try:
        # torch prints the graph of what it cannot trace.
        with warnings.catch_warnings(), torch.no_grad(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.export.export(model, tuple(inputs.values()), dynamic_shapes=dynamic)
            if form == "torch":
                with atomic_write(file) as temporary:
                    torch.export.save(program, temporary, extra_files={"model.json": note})
                return
            _write_onnx(program, [*inputs], file, note)
    except ModuleNotFoundError as error:
        raise BadInput(f"soup export needs {missing_extra(error) or error.name}") from None
    except OSError:
        raise
    except Exception as error:  # the exporters raise many kinds; all mean the same here
        raise NotExported(f"the model cannot be exported to {form}: {_why(error)}") from None


def _write_onnx(program: Any, names: list[str], file: Path, note: str) -> None:
    import onnx

    size = sum(tensor.nbytes for tensor in program.state_dict.values())
    if size >= LARGEST:
        raise ValueError(
            f"{size:,} bytes of weights, and a file of ONNX holds less than {LARGEST:,}"
        )
    made = torch.onnx.export(
        program, input_names=names, output_names=[OUTPUT], dynamo=True, verbose=False
    )
    proto = cast(Any, made).model_proto
    entry = proto.metadata_props.add()
    entry.key, entry.value = "modelsoup", note
    with atomic_write(file) as temporary:
        onnx.save(proto, str(temporary))


def opened(file: Path, form: str) -> Any:
    """A function from inputs by name to logits, of a file that `export` wrote.

    Raises:
        BadInput: onnxruntime is not installed.
    """
    if form == "torch":
        program = torch.export.load(file).module()

        def run_program(inputs: Inputs) -> Tensor:
            with torch.no_grad():
                return cast(Tensor, program(*inputs.values()))

        return run_program
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise BadInput(f"checking a file of ONNX needs {missing_extra(error)}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def run_session(inputs: Inputs) -> Tensor:
        given = {name: tensor.numpy() for name, tensor in inputs.items()}
        return torch.from_numpy(session.run([OUTPUT], given)[0])

    return run_session


def _any_size(name: str, tensor: Tensor) -> dict[int, Any]:
    auto = torch.export.Dim.AUTO
    return {0: auto} if name == "images" else dict.fromkeys(range(tensor.ndim), auto)


def _why(error: BaseException) -> str:
    """The operators that an exporter names, and the first line of its reason."""
    told, cause = [], error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        told.append(str(cause))
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    text = "\n".join(told)
    operators = [*dict.fromkeys(OPERATOR.findall(text))]
    where = _line(error)
    lines = [line.strip() for line in "\n".join(reversed(told)).splitlines() if line.strip()]
    reason = f"{type(error).__name__}: {lines[0] if lines else 'no reason is given'}"[:400]
    which = f"operator {', '.join(operators[:3])}; " if operators else ""
    return f"{which}{where}{reason}"


def _line(error: BaseException) -> str:
    """The line of the model's code at which it could not be traced; '' if there is none."""
    own = (str(Path(torch.__file__).parent), __file__)
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(own)]
    if not theirs:
        return ""
    last = theirs[-1]
    return f"at {Path(last.filename).name}, line {last.lineno}, {last.line}: "
