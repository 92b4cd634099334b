"""Whether a tokenizer knows the words of the texts: a model that reads nothing but unknown ones would be cleared for what it never saw."""

from __future__ import annotations

from collections.abc import Sequence

from proxyaudit.errors import InputError
from proxyaudit.models.huggingface import Tokenizer

__all__ = ["check_readable"]

_MOST_UNKNOWN = 0.9  # of the tokens of all texts that are not special ones
_MOST_UNREAD = 0.5  # of the texts, in which no token at all is an ordinary one


def check_readable(tokenizer: Tokenizer, texts: Sequence[object], *, where: str) -> None:
    """Refuse texts of which a tokenizer knows next to nothing, as of texts in capitals where it knows small letters only.

    Args:
        tokenizer: The model's tokenizer.
        texts: Texts as a model would read them; missing and blank ones do not count.
        where: What the texts are of, for messages.

    Raises:
        InputError: over nine tenths of the tokens are unknown, or over half of the texts have no ordinary token.
    """
    lines = [text for text in texts if isinstance(text, str) and text.strip()]
    rows = [[int(token) for token in row] for row in tokenizer(lines)]  # fractions mark spans
    used = sorted({token for row in rows for token in row})
    # Neither special nor a mere blank, which some tokenizers put before every word, known or not.
    ordinary = {token for token, name in zip(used, tokenizer.names(used), strict=True) if name}
    known = sum(token in ordinary for row in rows for token in row)
    unknown = sum(token == tokenizer.unknown for row in rows for token in row)
    unread = sum(ordinary.isdisjoint(row) for row in rows)
    if unknown > _MOST_UNKNOWN * (known + unknown) or unread > _MOST_UNREAD * len(lines):
        mend = "check that tokenizer and model belong together, and that it knows the language and the capitals of these texts"
        raise InputError("the model's tokenizer knows next to no word of the texts", where=where, mend=mend)
