"""A folder's own classifier of texts: its transformer, its pooling and its head, as transformers runs them.

The last linear layer that runs is cut off and stands as the head, so that what transformers calls the logits is what the head is given.
That holds for every architecture whose classes are told by one linear layer; where it does not, the folder is refused.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from proxyaudit.data.target import Target
from proxyaudit.errors import InputError
from proxyaudit.language.adapters import is_adapter
from proxyaudit.language.pretrained import adapter_base, fetch_options, import_transformers, load_body, loading, locate
from proxyaudit.models.base import TrainedModel, copy_module, inference, seeded
from proxyaudit.models.hooks import recorded
from proxyaudit.models.huggingface import (
    MEND,
    PROBE,
    check_length,
    find_layers,
    fingerprint_of,
    head_path,
    make_text,
    open_body,
    probe_batch,
)
from proxyaudit.models.kinds.huggingface import HeadSpec, HuggingFaceSpec
from proxyaudit.models.output_names import head_order, outputs_of, places
from proxyaudit.models.pipeline_head import Fitted, read_head
from proxyaudit.models.pipeline_head import Layer as Affine
from proxyaudit.models.text import Layer, TextClassifier
from proxyaudit.names import in_short
from proxyaudit.recipe.models import KindSpec
from proxyaudit.types import NotTested, Task

_AUTO = "AutoModelForSequenceClassification"
_CLOSE = 1e-4  # of logits
_KINDS: dict[str, Task] = {"multi_label_classification": "labels", "regression": "number"}
_SAID: dict[Task, str] = {
    "classes": "chooses one of several classes",
    "labels": "says yes or no to each label by itself (multi-label)",
    "number": "predicts a number (regression)",
}
_WANTED: dict[Task, str] = {
    "classes": "data.target is a column of classes",
    "labels": "data.target names several labels: [a, b]",
    "number": "data.target is a number (data: {task: regression})",
}


@dataclass(frozen=True)
class Head:
    """Where a folder's head lies and what its outputs are called."""

    name: str  # of the last linear layer, within the model
    outputs: tuple[str, ...]  # ``id2label`` in the order of the outputs
    late: tuple[str, ...]  # parameters that play a part after the last layer and before the head
    task: Task = "classes"


class GivenClassifier(TextClassifier):
    """A classifier of texts whose head was fitted elsewhere."""

    own: Head

    def ordered(self, order: Sequence[int]) -> Self:
        """The same with one column for each class or label, in this ``order`` of the outputs; of two classes the second's log-odds."""
        made = copy_module(self)
        assert isinstance(made, type(self))
        weight, bias = (value.detach()[list(order)] for value in (self.head.weight, self.head.bias))
        if len(order) == 2 and self.own.task == "classes":
            weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
        made.head = nn.Linear(weight.shape[1], len(weight))
        with torch.no_grad():
            made.head.weight.copy_(weight)
            made.head.bias.copy_(bias)
        return made.eval()

    def drawn_anew(self, spec: HuggingFaceSpec) -> Self:
        """What it was before it was fitted, drawn from the global generators."""
        raise NotImplementedError


class PipelineClassifier(GivenClassifier):
    """A pretrained transformer, its hidden states pooled, under a pipeline of scikit-learn."""

    def __init__(self, body: nn.Module, layers: tuple[Layer, ...], spec: HuggingFaceSpec, fitted: Fitted) -> None:
        super().__init__(body, layers, spec, width=fitted.width, n_outputs=len(fitted.last.bias_o))
        self.own = Head("head", fitted.classes or ("number",), (), fitted.task)
        if fitted.normalised:
            self.add_module("pooled", _Normalised())
        self.dense = nn.ModuleList(nn.Sequential(_affine(one), _THEN[one.then]()) for one in fitted.hidden)
        self.head = _affine(fitted.last)

    def drawn_anew(self, spec: HuggingFaceSpec) -> Self:
        """The same transformer under a head of random weights."""
        made = copy_module(self)
        assert isinstance(made, type(self))
        for part in (*(block[0] for block in made.dense), made.head):  # type: ignore[index]
            part.reset_parameters()
        return made.eval()


class _Normalised(nn.Module):
    """Rows of length one; a row of zeros stays as it is, as scikit-learn has it."""

    def forward(self, value: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(value, dim=-1, keepdim=True)
        return value / torch.where(length == 0, torch.ones_like(length), length)


_THEN: dict[str, type[nn.Module]] = {"identity": nn.Identity, "relu": nn.ReLU, "tanh": nn.Tanh, "logistic": nn.Sigmoid}


def _affine(layer: Affine) -> nn.Linear:
    made = nn.Linear(*layer.weight_io.shape)
    with torch.no_grad():
        made.weight.copy_(torch.tensor(layer.weight_io.T))
        made.bias.copy_(torch.tensor(layer.bias_o))
    return made


class OwnClassifier(GivenClassifier):
    """A ``...ForSequenceClassification`` whose last linear layer is the head; the rest is the backbone and ends in what the head reads."""

    def __init__(self, model: nn.Module, layers: tuple[Layer, ...], spec: HuggingFaceSpec, own: Head) -> None:
        last = model.get_submodule(own.name)
        assert isinstance(last, nn.Linear)
        super().__init__(model, layers, spec, width=last.in_features, n_outputs=last.out_features)
        self.own, self.late = own, own.late
        with torch.no_grad():
            self.head.weight.copy_(last.weight)
            self.head.bias.copy_(torch.zeros(last.out_features) if last.bias is None else last.bias)
        model.set_submodule(own.name, nn.Identity())
        config: Any = model.config
        pad = config.pad_token_id
        self._pad = pad if isinstance(pad, int) and pad >= 0 else 0

    def encode(self, x: Tensor) -> Tensor:
        """Return what the folder's own head is given, ``(n, d)``."""
        ids = self.tokens(x)
        assert self._mask is not None
        # A decoder finds the last token of a text by what is no padding, so that the folder's own padding must stand there.
        value: Tensor = self.backbone(input_ids=ids.masked_fill(~self._mask, self._pad), attention_mask=self._mask.long()).logits
        return value.to(self.head.weight.dtype)  # a backbone in fewer digits stands under a head in single precision

    def blank_token(self) -> int:
        """As of any classifier of texts, but none that a decoder would take for padding, if there is another."""
        config: Any = self.backbone.config
        known = (token for token in (config.eos_token_id, config.bos_token_id) if isinstance(token, int))
        return next((token for token in known if 0 <= token < config.vocab_size and token != self._pad), self._pad)

    def drawn_anew(self, spec: HuggingFaceSpec) -> Self:
        """The same architecture with initial weights, drawn from the global generators."""
        config: Any = copy.deepcopy(self.backbone.config)
        model = getattr(import_transformers(), _AUTO).from_config(config, dtype=torch.float32, attn_implementation="eager")
        return type(self)(model, self.layers, spec, self.own).eval()


def make_classifier(spec: HuggingFaceSpec, *, n_inputs: int, n_classes: int, base: Path) -> TextClassifier:
    """A pretrained transformer under a new head or that of a file, or a folder's own classifier; raises as what makes each."""
    if isinstance(spec.head, HeadSpec):
        return make_headed(spec, base)
    return make_own(spec, base) if spec.given else make_text(spec, n_inputs=n_inputs, n_classes=n_classes, base=base)


def make_headed(spec: HuggingFaceSpec, base: Path) -> PipelineClassifier:
    """A transformer under the pipeline of a file. Raises ``InputError``: it cannot be read, or reads embeddings of another width."""
    path = head_path(spec, base)
    assert path is not None
    assert isinstance(spec.head, HeadSpec)
    fitted = read_head(path, spec.head.trusted, what="the head")
    body, layers, width, last = open_body(spec, base)
    if fitted.width != width:
        mend = "take the transformer whose pooled hidden states it was fitted on"
        raise InputError(f"the head reads embeddings of {fitted.width} numbers, the transformer gives {width}", where=str(path), mend=mend)
    made = PipelineClassifier(body, layers, spec, fitted)
    made.same_as_last = last and spec.pooling == spec.site_pooling and not fitted.normalised
    return made.eval()


def make_own(spec: HuggingFaceSpec, base: Path) -> OwnClassifier:
    """The classifier of a folder, one column for each output of its head. Raises ``InputError``: it is none."""
    place, file = locate(spec, base)
    adapted = adapter_base(spec, place, base)
    kept, layers, own = _loaded(place, tuple(fetch_options(spec, file, adapted).items()), fingerprint_of(spec, base))
    check_length(kept, spec)
    return OwnClassifier(copy_module(kept), layers, spec, own).eval()


@lru_cache(maxsize=2)
def _loaded(place: str, options: tuple[tuple[str, Any], ...], fingerprint: str) -> tuple[nn.Module, tuple[Layer, ...], Head]:
    """A classifier that nobody may change, its layers and its head; the fingerprint tells files of one name apart."""
    if not is_adapter(Path(place)):
        with loading(place, "the model's configuration", mend=MEND):
            check_config(import_transformers().AutoConfig.from_pretrained(place, **dict(options)), place)
    with loading(place, "the model", mend=MEND):
        model = load_body(_AUTO, place, dict(options))
    config: Any = model.config
    check_config(config, place)
    model.eval()
    model.config.use_cache = False
    body = getattr(model, model.base_model_prefix)
    layers, _, _ = find_layers(body, config, place)
    layers = tuple(_within(layer, model.base_model_prefix) for layer in layers)
    return model, layers, _find_head(model, layers, place)


def check_config(config: Any, place: str) -> None:
    """Refuse (``InputError``) what has no head of its own that could be read."""
    names = [str(name) for name in config.architectures or ()]
    if not any(name.endswith("ForSequenceClassification") for name in names):
        what = f"the folder holds {names[0] if names else 'a transformer'}, which has no classification head of its own"
        raise InputError(what, where=place, mend="leave out 'head: own': a head is then trained here")
    if config.is_encoder_decoder:
        mend = "take an encoder or a decoder, or leave out 'head: own': a head is then trained on its encoder"
        raise InputError("'head: own' does not read models of an encoder and a decoder", where=place, mend=mend)
    if task_of(config) == "number" and config.num_labels > 1:
        mend = "take a model with one output (num_labels: 1), for each number one"
        what = f"the folder's head predicts a number for each of {config.num_labels} outputs"
        raise InputError(what, where=place, mend=mend)


def task_of(config: Any) -> Task:
    """What the head of a folder predicts, as its config says: one output is a number, several are classes unless it says otherwise."""
    told = _KINDS.get(str(config.problem_type), "classes")
    return "number" if config.num_labels == 1 and told == "classes" else told


def _within(layer: Layer, prefix: str) -> Layer:
    attention, mlp = (None if part is None else f"{prefix}.{part}" for part in (layer.attention, layer.mlp))
    return replace(layer, name=f"{prefix}.{layer.name}", attention=attention, mlp=mlp)


def _find_head(model: nn.Module, layers: tuple[Layer, ...], place: str) -> Head:
    """The last linear layer that runs, and what runs between the last layer and it. ``InputError``: the logits are not its output."""
    config: Any = model.config
    ids, mask = probe_batch()
    filled = ids.masked_fill(mask == 0, config.pad_token_id or 0)
    mend = "name the padding in config.json (pad_token_id), as the model was trained with" if config.pad_token_id is None else MEND
    with inference(model), loading(place, "a forward pass of the model", mend=mend), recorded(model, copies=True) as runs:
        logits: Tensor = model(input_ids=filled, attention_mask=mask).logits
    parts = dict(model.named_modules())
    linear = [run for run in runs if isinstance(parts[run.name], nn.Linear)]
    head, ends = linear[-1], next(run.returned.moment for run in reversed(runs) if run.name == layers[-1].name)
    late = [run.name for run in runs if run.given.moment > ends and run.name != head.name]
    own = Head(
        head.name,
        outputs_of(config, place),
        tuple(f"{name}.{key}" for name in dict.fromkeys(late) for key, _ in parts[name].named_parameters(recurse=False)),
        task_of(config),
    )
    copied = copy_module(model)
    copied.set_submodule(head.name, nn.Identity())
    with inference(copied):
        given: Tensor = copied(input_ids=filled, attention_mask=mask).logits
        weight: Any = parts[head.name]
        again = weight(given) if given.shape == (len(PROBE), weight.in_features) else given
    if again.shape != logits.shape or not torch.allclose(again, logits, rtol=_CLOSE, atol=_CLOSE):
        what = "the logits of this architecture are not what one linear layer gives of one vector a text"
        raise InputError(what, where=place, mend="leave out 'head: own': a head is then trained here")
    return own


def settled(model: TrainedModel, spec: KindSpec, aim: Target, *, initial: int | None = None) -> TrainedModel:
    """A given classifier with its outputs in the order of the table's classes or labels; with a seed ``initial`` of initial weights.

    Another model stays as it is. Raises ``InputError``: the head predicts something else than the target is, or its outputs are not the
    table's classes.
    """
    module = model.module
    if not (isinstance(module, GivenClassifier) and isinstance(spec, HuggingFaceSpec)):
        return model
    where = f"model '{spec.path}'"
    if module.own.task != aim.task:
        mend = f"it is audited where {_WANTED[module.own.task]}"
        if (module.own.task, aim.task) == ("classes", "labels"):
            mend = "if it does say yes or no to each, write problem_type: multi_label_classification into its config.json"
        elif module.own.task == "labels":
            mend = f"name all of its labels: data: {{target: [{', '.join(module.own.outputs[:3])}, ...]}}"
        named = "the folder's head" if isinstance(module, OwnClassifier) else "the head"
        raise InputError(f"{named} {_SAID[module.own.task]}, and the target {_SAID_OF[aim.task]}", where=where, mend=mend)
    order = _order(module.own, aim, spec, where)
    if initial is None:
        return replace(model, module=module.ordered(order))
    with seeded(initial):
        drawn = module.drawn_anew(spec)
    return replace(model, module=drawn.ordered(order), details={**model.details, "origin": "initial"})


def _order(own: Head, aim: Target, spec: HuggingFaceSpec, where: str) -> tuple[int, ...]:
    """The output of each class or label; of a head that knows more labels those that the target names."""
    if aim.task == "number":
        return (0,)
    if spec.labels is not None and places(own.outputs, spec.labels) not in (None, tuple(range(len(own.outputs)))):
        raise InputError(
            f"model.labels gives another order than the folder, whose outputs are {', '.join(map(repr, own.outputs[:6]))}",
            where="model.labels",
            mend="leave it out, or mend id2label in config.json",
        )
    known = {name: place for place, name in enumerate(spec.labels or own.outputs)}
    if aim.labels is not None and len(known) == len(own.outputs) and set(aim.labels.names) <= set(known):
        return tuple(known[name] for name in aim.labels.names)
    return head_order(own.outputs, _told(aim), spec.labels, where=where)


_SAID_OF: dict[Task, str] = {"classes": "is one of several classes", "labels": "is several labels", "number": "is a number"}


def _told(aim: Target) -> tuple[str, ...]:
    return aim.classes if aim.labels is None else aim.labels.names


def own_notes(model: TrainedModel, spec: HuggingFaceSpec, aim: Target) -> list[NotTested]:
    """What is taken as given of a folder's own classifier; nothing of another model."""
    if not isinstance(model.module, GivenClassifier):
        return []
    classes = _told(aim)
    notes = [
        NotTested(
            what="which texts the given classifiers were trained on",
            why="they are audited as they are, also one that is called 'real'; audit texts that they were trained on would flatter them",
        ),
    ]
    if isinstance(model.module, OwnClassifier):
        what = "what the pretrained transformer told before it was made a classifier"
        why = "the folder does not hold it; what training did is measured from the same architecture with initial weights"
        notes.append(NotTested(what=what, why=why))
        if unread := [str(name) for name in getattr(model.module.backbone, "unread", ())]:
            why = f"the architecture that config.json names has no place for them ({in_short(unread, 4)})"
            notes.append(NotTested(what=f"{len(unread)} tensors of the model's files", why=why))
    outputs = model.module.own.outputs
    if aim.task == "number":
        why = "it is taken to predict the target in the units of the table; a bad R² would show that it does not"
        notes.append(NotTested(what="in which units the folder's head predicts", why=why))
    elif places(outputs, classes) is None:
        names = spec.labels or tuple(name.removeprefix("LABEL_") for name in outputs)
        meant = ", ".join(f"{output} is {name}" for output, name in zip(outputs, names, strict=True))
        source = "the order is that of model.labels" if spec.labels else "its numbers are taken for the classes"
        why = f"the folder calls its outputs {', '.join(outputs)}; {source} ({meant})"
        notes.append(NotTested(what="whether the outputs of the folder's head are named right", why=why))
    return notes
