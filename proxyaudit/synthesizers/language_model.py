"""Synthetic texts by a local causal language model, fine-tuned on the real texts or shown a few of them.

Every text stands after its controls (the label, and whatever else stands beside the text in the table), so that the model
learns, or sees, what a text of that label is like. The controls of new rows are those of real rows, drawn with replacement; the text is
the model's. Fine-tuning runs without dropout in an order that the seed decides, and sampling takes each row's numbers from its
own stream: no global generator is read or moved.

What such a model writes can carry more than the words say: a teacher that shares the student's base can pass traits on through
unrelated text (Cloud et al. 2025, arXiv 2507.14805). ``lineage`` records what wrote the texts, so that an audit can say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from proxyaudit.errors import TaskError
from proxyaudit.language.causal_model import CausalModel, CausalSource, load_causal
from proxyaudit.language.sampling import sample_continuations
from proxyaudit.seeding import stream
from proxyaudit.synthesizers.base import costs

__all__ = ["LanguageModelSynthesizer", "language_model"]

_EPOCHS = 2
_MAX_GRADIENT = 1.0
_TRIES = 4  # a text may come out empty; it is drawn again with other numbers
_MISSING = "(missing)"


class LanguageModelSynthesizer:
    """One causal model behind scikit-learn's conventions.

    Args:
        source: Where the model lies.
        base: Folder that a relative path starts from.
        text: The text column; None takes the column with the longest strings.
        mode: ``fine_tune`` or ``few_shot``.
        epochs: Passes over the texts (fine-tuning); None takes 2.
        seed: Seed of the fit.
        learning_rate: Peak learning rate; it rises over a tenth of the steps and falls to zero.
        batch_size: Texts of a training step.
        max_tokens: Most tokens of a text, real or new.
        examples: Real texts of the same controls before a few-shot batch.
        texts_per_prompt: New texts that share those examples.
        temperature: Divides the logits.
        top_p: Nucleus that tokens are drawn from.
    """

    def __init__(
        self,
        source: CausalSource,
        base: Path,
        *,
        text: str | None = None,
        mode: Literal["fine_tune", "few_shot"] = "fine_tune",
        epochs: int | None = None,
        seed: int = 0,
        learning_rate: float = 5e-5,
        batch_size: int = 8,
        max_tokens: int = 96,
        examples: int = 4,
        texts_per_prompt: int = 16,
        temperature: float = 1.0,
        top_p: float = 0.95,
    ) -> None:
        self.source, self.base, self.text, self.mode, self.epochs, self.seed = source, base, text, mode, epochs, seed
        self.learning_rate, self.batch_size, self.max_tokens = learning_rate, batch_size, max_tokens
        self.examples, self.texts_per_prompt, self.temperature, self.top_p = examples, texts_per_prompt, temperature, top_p

    def __repr__(self) -> str:
        return f"LanguageModelSynthesizer(path={self.source.path!r}, mode={self.mode!r}, epochs={self.epochs!r}, seed={self.seed!r})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings as given."""
        names = ("source", "base", "text", "mode", "epochs", "seed", "learning_rate", "batch_size", "max_tokens", "examples")
        return {name: getattr(self, name) for name in (*names, "texts_per_prompt", "temperature", "top_p")}

    def fit(self, frame: pd.DataFrame) -> Self:
        """Load the model and, if asked, train it on the rows' texts.

        Args:
            frame: A text column and others, which become the controls of each text.

        Raises:
            InputError: the model cannot be loaded.
            TaskError: there are no texts, or training failed.
        """
        column = self.text if self.text is not None else _longest(frame)
        if column is None or column not in frame.columns:
            raise TaskError("the language model found no text column to learn from")
        known = frame.loc[[isinstance(text, str) and bool(text.strip()) for text in frame[column]]]
        if known.empty:
            raise TaskError("the language model found no texts to learn from")
        model = load_causal(self.source, self.base)
        self.column_, self.columns_ = column, list(frame.columns)
        self.controls_ = known.drop(columns=column).reset_index(drop=True)
        self.texts_ = known[column].tolist()
        self.prefixes_ = [_prefix(self.column_, row) for row in self.controls_.to_dict("records")]
        if self.mode == "fine_tune":
            try:
                self.losses_ = self._train(model)
            except (RuntimeError, ValueError) as error:  # their texts may hold values of rows
                raise TaskError(f"the language model could not be fine-tuned ({type(error).__name__})") from error
        self.model_ = model
        self.lineage_ = {"weights": model.digest, "mode": self.mode, "fine-tuned on": len(known) if self.mode == "fine_tune" else 0}
        return self

    def sample(self, n: int, seed: int) -> pd.DataFrame:
        """Draw ``n`` rows; the same seed repeats them, whatever was drawn before.

        Raises:
            TaskError: the model writes nothing but empty texts.
        """
        rng = stream(seed, "controls")
        rows = self.controls_.iloc[rng.choice(len(self.controls_), size=n)].reset_index(drop=True)
        prefixes = [_prefix(self.column_, row) for row in rows.to_dict("records")]
        texts = [""] * n
        for attempt in range(_TRIES):
            open_rows = [row for row in range(n) if not texts[row]]
            for prompt, batch in self._prompts(prefixes, open_rows, seed, attempt):
                uniforms = np.stack([stream(seed, "row", row, attempt).random(self.max_tokens) for row in batch])
                found = sample_continuations(
                    self.model_, prompt, uniforms, temperature=self.temperature, top_p=self.top_p, stops=self._ends
                )
                for row, ids in zip(batch, found, strict=True):
                    texts[row] = self._cleaned(self.model_.decode(ids))
        if sum(not text for text in texts) > n / 10:
            raise TaskError("the language model writes mostly empty texts; more epochs, or another model, may help")
        rows[self.column_] = [text or None for text in texts]
        return rows.loc[:, self.columns_]

    @cached_property
    def _ends(self) -> frozenset[int]:
        """A few-shot text ends with its line."""
        if self.mode == "fine_tune":
            return frozenset()
        return frozenset(token for token in range(self.model_.vocabulary) if "\n" in self.model_.decode([token]))

    def _prompts(self, prefixes: Sequence[str], open_rows: Sequence[int], seed: int, attempt: int) -> list[tuple[list[int], list[int]]]:
        """Prompts, each with the rows that it serves."""
        by_prefix: dict[str, list[int]] = {}
        for row in open_rows:
            by_prefix.setdefault(prefixes[row], []).append(row)
        found = []
        for prefix, rows in by_prefix.items():
            for start in range(0, len(rows), self.texts_per_prompt):
                batch = rows[start : start + self.texts_per_prompt]
                shown = prefix if self.mode == "fine_tune" else self._shots(prefix, stream(seed, "examples", batch[0], attempt))
                found.append((self.model_.prompt(shown), batch))
        return found

    def _shots(self, prefix: str, rng: np.random.Generator) -> str:
        """Real texts with the same controls, or the nearest there are, then the start of a new one."""
        wanted = prefix.split("\n")
        # Those that agree in most controls; the label alone where nothing else does.
        alike = np.array([sum(a == b for a, b in zip(other.split("\n"), wanted, strict=False)) for other in self.prefixes_])
        order = rng.permutation(len(alike))
        chosen = order[np.argsort(-alike[order], kind="stable")][: self.examples]
        shots = [f"{self.prefixes_[place]} {_one_line(self._cut(self.texts_[place]))}\n\n" for place in chosen]
        room = self.model_.longest - self.max_tokens
        while len(shots) > 1 and len(self.model_.prompt("".join(shots) + prefix)) > room:
            shots.pop()
        return "".join(shots) + prefix

    def _cut(self, text: str) -> str:
        ids = self.model_.continuation(text)
        return text if len(ids) <= self.max_tokens else self.model_.decode(ids[: self.max_tokens])

    def _cleaned(self, text: str) -> str:
        """A few-shot text ends where the next example would begin."""
        return (text.strip().split("\n", 1)[0] if self.mode == "few_shot" else text).strip()

    def _train(self, model: CausalModel) -> list[float]:
        """Fine-tune in place; the loss is that of the text's tokens and its end, not of the controls."""
        rows = [self._example(model, prefix, text) for prefix, text in zip(self.prefixes_, self.texts_, strict=True)]
        epochs = self.epochs or _EPOCHS
        steps = epochs * -(-len(rows) // self.batch_size)
        optimizer = torch.optim.AdamW(model.model.parameters(), lr=self.learning_rate, weight_decay=0.0)
        warm = max(1, steps // 10)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / warm) * max(0.0, 1.0 - max(0, step - warm) / max(1, steps - warm))
        )
        losses = []
        for epoch in range(epochs):
            order = stream(self.seed, "order", epoch).permutation(len(rows))
            total = 0.0
            for start in range(0, len(rows), self.batch_size):
                loss = _loss(model, [rows[row] for row in order[start : start + self.batch_size]])
                if not bool(torch.isfinite(loss)):
                    raise ValueError("the loss is not finite")
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(model.model.parameters(), _MAX_GRADIENT)
                optimizer.step()
                schedule.step()
                total += float(loss.detach())
            losses.append(total / max(1, -(-len(rows) // self.batch_size)))
        model.model.zero_grad(set_to_none=True)
        return losses

    def _example(self, model: CausalModel, prefix: str, text: str) -> tuple[list[int], int]:
        """Tokens of a training text, and how many of them are control."""
        head = model.prompt(prefix)[: model.longest // 2]
        body = model.continuation(f" {text.strip()}")[: min(self.max_tokens, model.longest - len(head)) - 1]
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
    return _MISSING if pd.isna(value) else _one_line(str(value))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _longest(frame: pd.DataFrame) -> str | None:
    """The column of the longest strings."""
    lengths: dict[str, NDArray[np.float64]] = {}
    for name in frame.columns:
        found = [len(value) for value in frame[name] if isinstance(value, str)]
        if found:
            lengths[str(name)] = np.asarray(found, dtype=np.float64)
    return max(lengths, key=lambda name: float(lengths[name].mean())) if lengths else None


@costs(600.0)  # 135 million weights
def language_model(epochs: int | None = None, seed: int = 0, *, base: Path | None = None, **options: Any) -> LanguageModelSynthesizer:
    """A causal model as synthesizer; ``path`` and the other keys of a recipe's ``language_model`` are its options."""
    keys = ("path", "package", "gguf_file", "hub", "revision", "trust_remote_code")
    source = CausalSource(**{key: options.pop(key) for key in keys if key in options})
    return LanguageModelSynthesizer(source, base if base is not None else Path.cwd(), epochs=epochs, seed=seed, **options)
