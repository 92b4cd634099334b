"""Counterfactual prompt sets: templates x names or group terms x contexts (the user's own YAML, or the one written here).

What differs between the groups is brought about by the names alone. Templates ask which of two endings is likelier (``positive`` against
``negative``: tone), how likely the first of several ``options`` is and how it ranks, or whether a request is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from proxyaudit.errors import InputError
from proxyaudit.recipe.models import Strict
from proxyaudit.recipe.yaml import parse_own, read_yaml, validated

FEWEST_NAMES = 3
BUILT_IN = "gender"
_NAME, _CONTEXT = "{name}", "{context}"
_Word = Annotated[str, Field(min_length=1, max_length=200)]
_Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _-]{0,39}$")]


class Template(Strict):
    """A sentence with a place for the name, and what is asked of its continuation."""

    id: _Id
    text: str
    positive: tuple[_Word, ...] = ()
    negative: tuple[_Word, ...] = ()
    options: tuple[_Word, ...] = ()

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        if self.text.count(_NAME) != 1 or self.text.count(_CONTEXT) > 1:
            raise ValueError(f"template '{self.id}' needs {_NAME} once, and {_CONTEXT} at most once")
        if bool(self.positive) != bool(self.negative) or len(self.positive) != len(self.negative):
            raise ValueError(f"template '{self.id}': 'positive' and 'negative' are pairs, so they are of one length")
        if self.options and (self.positive or len(set(self.options)) < 2):
            raise ValueError(f"template '{self.id}' needs at least two different 'options', or pairs, not both")
        return self

    @property
    def is_request(self) -> bool:
        """Whether an answer is asked for rather than a continuation scored."""
        return not self.positive and not self.options


@dataclass(frozen=True)
class Prompt:
    """A filled template; ``start`` and ``end`` say where the name stands in ``text``."""

    text: str
    start: int
    end: int

    @classmethod
    def filled(cls, template: Template, name: str, context: str) -> Self:
        """Fill the name and the context in; a sentence begins with a capital letter."""
        # The places are found before anything is filled in: a name or context may itself hold braces.
        before, after = template.text.split(_NAME)
        before, after = (part.replace(_CONTEXT, context) for part in (before, after))
        text = before + name + after
        if not before and text[:1].islower():
            text = text[:1].upper() + text[1:]
        return cls(text, len(before), len(before) + len(name))


class PromptSet(Strict):
    """Templates, names of each group, and contexts."""

    attribute: _Id
    groups: dict[_Id, tuple[_Word, ...]]
    contexts: tuple[Annotated[str, Field(max_length=2000)], ...] = ("",)
    templates: tuple[Template, ...] = ()
    requests: tuple[Template, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.groups) < 2:
            raise ValueError("name at least two groups")
        names = [name for own in self.groups.values() for name in own]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"'{doubled[0][:40]}' stands in the set twice; a name belongs to one group")
        small = [group for group, own in self.groups.items() if len(own) < FEWEST_NAMES]
        if small:
            raise ValueError(f"group '{small[0]}' needs at least {FEWEST_NAMES} names: of fewer nothing is said beyond those names")
        if not self.contexts or len(set(self.contexts)) != len(self.contexts):
            raise ValueError("'contexts' needs at least one entry (may be empty text), and none twice")
        ids = [template.id for template in (*self.templates, *self.requests)]
        if not ids or len(set(ids)) != len(ids):
            raise ValueError("give at least one template, each with an id of its own")
        if any(template.is_request for template in self.templates):
            raise ValueError("a template needs 'positive' and 'negative', or 'options'; one without belongs to 'requests'")
        if any(not template.is_request for template in self.requests):
            raise ValueError("a request is answered, not scored: it has neither pairs nor options")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """All names, group by group."""
        return tuple(name for own in self.groups.values() for name in own)

    @property
    def group_numbers(self) -> tuple[int, ...]:
        """Group of each name."""
        return tuple(number for number, own in enumerate(self.groups.values()) for _ in own)

    def prompts(self, template: Template, contexts: int | None = None) -> Iterator[Prompt]:
        """Prompts of one template: contexts by names, at most so many contexts."""
        for context in self.contexts[:contexts]:
            for name in self.names:
                yield Prompt.filled(template, name, context)


def load_prompt_set(path: Path | None = None) -> PromptSet:
    """Read a prompt set, or the built-in one. Raises ``InputError``: the file cannot be read or is no prompt set."""
    if path is None:
        text = resources.files("proxyaudit").joinpath("templates", f"prompts-{BUILT_IN}.yaml").read_text(encoding="utf-8")
        return PromptSet.model_validate(parse_own(text))
    return parse_prompt_set(read_yaml(path), where=str(path))


def parse_prompt_set(document: Any, *, where: str) -> PromptSet:
    """Validate a prompt set given as plain data; the first mistake is raised, in one line."""
    if not isinstance(document, dict):
        raise InputError("the prompt set is no mapping", where=where, mend="it needs the keys attribute, groups and templates")
    return validated(PromptSet, document, where=where, mend="see 'proxyaudit prompts --show-set'")
