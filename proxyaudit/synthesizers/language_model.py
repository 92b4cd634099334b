"""Synthetic texts by a local causal language model, fine-tuned on the real texts or shown a few of them.

Every text stands after its controls (the label, and whatever else stands beside the text in the table). The controls of new rows are those
of real rows, drawn with replacement; the text is the model's. No global generator is read or moved. A teacher that shares the student's
base can pass traits on through unrelated text (Cloud et al. 2025, arXiv 2507.14805): :mod:`proxyaudit.synthesizers.lineage` records it.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch

from proxyaudit.data.columns import MISSING
from proxyaudit.errors import TaskError
from proxyaudit.language.causal_model import CausalModel, load_causal, sample_continuations
from proxyaudit.recipe.models import LanguageModelSpec
from proxyaudit.seeding import stream
from proxyaudit.synthesizers.base import costs
from proxyaudit.synthesizers.texts import TRIES, TextSynthesizer

_EPOCHS = 2
_MAX_GRADIENT = 1.0


class LanguageModelSynthesizer(TextSynthesizer):
    """One causal model; ``text`` None is the column of the longest strings, ``epochs`` None is 2 (fine-tuning)."""

    called = "the language model"
    more = "more epochs, or another model, may help"

    def __init__(self, spec: LanguageModelSpec, base: Path, *, text: str | None = None, epochs: int | None = None, seed: int = 0) -> None:
        self.spec, self.base, self.text, self.epochs, self.seed = spec, base, text, epochs, seed

    def fit(self, frame: pd.DataFrame) -> Self:
        """Load the model and, if asked, train it. Raises ``InputError``: it cannot be loaded; ``TaskError``: no texts, training failed."""
        self._learn_from(frame)
        model = load_causal(self.spec, self.base)
        self.prefixes_ = [_prefix(self.column_, row) for row in self.controls_.to_dict("records")]
        if self.spec.mode == "fine_tune":
            try:
                self.losses_ = self._train(model)
            except (RuntimeError, ValueError) as error:  # their texts may hold values of rows
                raise TaskError(f"the language model could not be fine-tuned ({type(error).__name__})") from error
        self.model_ = model
        return self

    def sample(self, n: int, seed: int) -> pd.DataFrame:
        """Draw ``n`` rows, a function of the seed alone. Raises ``TaskError``: the model writes nothing but empty texts."""
        rows = self._drawn(n, seed)[1]
        prefixes = [_prefix(self.column_, row) for row in rows.to_dict("records")]
        texts = [""] * n
        for attempt in range(TRIES):
            open_rows = [row for row in range(n) if not texts[row]]
            for prompt, batch in self._prompts(prefixes, open_rows, seed, attempt):
                uniforms = np.stack([stream(seed, "row", row, attempt).random(self.spec.max_tokens) for row in batch])
                found = sample_continuations(self.model_, prompt, uniforms, self.spec.temperature, self.spec.top_p, stops=self._ends)
                for row, ids in zip(batch, found, strict=True):
                    text = self.model_.decode(ids).strip()
                    # A few-shot text ends where the next example would begin.
                    texts[row] = (text.split("\n", 1)[0] if self.spec.mode == "few_shot" else text).strip()
        return self._table(rows, texts)

    @cached_property
    def _ends(self) -> frozenset[int]:
        """A few-shot text ends with its line."""
        if self.spec.mode == "fine_tune":
            return frozenset()
        return frozenset(token for token in range(self.model_.vocabulary) if "\n" in self.model_.decode([token]))

    def _prompts(self, prefixes: Sequence[str], open_rows: Sequence[int], seed: int, attempt: int) -> list[tuple[list[int], list[int]]]:
        """Prompts, each with the rows that it serves."""
        by_prefix: dict[str, list[int]] = {}
        for row in open_rows:
            by_prefix.setdefault(prefixes[row], []).append(row)
        found = []
        for prefix, rows in by_prefix.items():
            for start in range(0, len(rows), self.spec.texts_per_prompt):
                batch = rows[start : start + self.spec.texts_per_prompt]
                shown = prefix if self.spec.mode == "fine_tune" else self._shots(prefix, stream(seed, "examples", batch[0], attempt))
                found.append((self.model_.prompt(shown), batch))
        return found

    def _shots(self, prefix: str, rng: np.random.Generator) -> str:
        """Real texts with the same controls, or the nearest there are, then the start of a new one."""
        wanted = prefix.split("\n")
        # Those that agree in most controls; the label alone where nothing else does.
        alike = np.array([sum(a == b for a, b in zip(other.split("\n"), wanted, strict=False)) for other in self.prefixes_])
        order = rng.permutation(len(alike))
        chosen = order[np.argsort(-alike[order], kind="stable")][: self.spec.examples]
        shots = [f"{self.prefixes_[place]} {_one_line(self._cut(self.texts_[place]))}\n\n" for place in chosen]
        room = self.model_.longest - self.spec.max_tokens
        while len(shots) > 1 and len(self.model_.prompt("".join(shots) + prefix)) > room:
            shots.pop()
        return "".join(shots) + prefix

    def _cut(self, text: str) -> str:
        ids = self.model_.continuation(text)
        return text if len(ids) <= self.spec.max_tokens else self.model_.decode(ids[: self.spec.max_tokens])

    def _train(self, model: CausalModel) -> list[float]:
        """Fine-tune in place; the loss is that of the text's tokens and its end, not of the controls."""
        rows = [self._example(model, prefix, text) for prefix, text in zip(self.prefixes_, self.texts_, strict=True)]
        epochs = self.epochs or _EPOCHS
        steps = epochs * -(-len(rows) // self.spec.batch_size)
        optimizer = torch.optim.AdamW(model.model.parameters(), lr=self.spec.learning_rate, weight_decay=0.0)
        warm = max(1, steps // 10)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / warm) * max(0.0, 1.0 - max(0, step - warm) / max(1, steps - warm))
        )
        losses = []
        for epoch in range(epochs):
            order = stream(self.seed, "order", epoch).permutation(len(rows))
            total = 0.0
            for start in range(0, len(rows), self.spec.batch_size):
                loss = _loss(model, [rows[row] for row in order[start : start + self.spec.batch_size]])
                if not bool(torch.isfinite(loss)):
                    raise ValueError("the loss is not finite")
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(model.model.parameters(), _MAX_GRADIENT)
                optimizer.step()
                schedule.step()
                total += float(loss.detach())
            losses.append(total / max(1, -(-len(rows) // self.spec.batch_size)))
        model.model.zero_grad(set_to_none=True)
        return losses

    def _example(self, model: CausalModel, prefix: str, text: str) -> tuple[list[int], int]:
        """Tokens of a training text, and how many of them are control."""
        head = model.prompt(prefix)[: model.longest // 2]
        body = model.continuation(f" {text.strip()}")[: min(self.spec.max_tokens, model.longest - len(head)) - 1]
        end = [model.eos] if model.eos is not None else model.continuation("\n\n")[:1]
        return [*head, *body, *end], len(head)


def _loss(model: CausalModel, rows: Sequence[tuple[list[int], int]]) -> torch.Tensor:
    """Mean negative log-likelihood; rows are filled up on the right, which no earlier position of a causal model sees."""
    width = max(len(ids) for ids, _ in rows)
    table = torch.zeros(len(rows), width, dtype=torch.int64)
    wanted = torch.full((len(rows), width), -100)
    for place, (ids, head) in enumerate(rows):
        table[place, : len(ids)] = torch.tensor(ids)
        wanted[place, head : len(ids)] = torch.tensor(ids[head:])
    logits, _ = model.forward(table)
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), wanted[:, 1:].flatten(), ignore_index=-100)


def _prefix(column: str, row: dict[Any, Any]) -> str:
    """Controls as a line each, then the name of the text column."""
    lines = [f"{name}: {_written(value)}" for name, value in row.items()]
    return "\n".join([*lines, f"{column}:"])


def _written(value: Any) -> str:
    if isinstance(value, float | np.floating) and not np.isnan(value):
        return f"{value:g}"
    return MISSING if pd.isna(value) else _one_line(str(value))


def _one_line(text: str) -> str:
    return " ".join(text.split())


@costs(600.0)  # 135 million weights
def language_model(
    epochs: int | None = None, seed: int = 0, *, base: Path | None = None, text: str | None = None, **options: Any
) -> LanguageModelSynthesizer:
    """A causal model as synthesizer; ``path`` and the other keys of a recipe's ``language_model`` are its options."""
    return LanguageModelSynthesizer(LanguageModelSpec(**options), base or Path.cwd(), text=text, epochs=epochs, seed=seed)
