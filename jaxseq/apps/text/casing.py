"""Restore capitals in lower-case text: at the beginning of a sentence, in names, in "I"."""

from __future__ import annotations

import collections
import functools
import re
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

from jaxseq.apps.sentences import ABBREVIATIONS

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_OPENING = "[\"'“‘„«(\\[¿¡ ]*"
_SHORT = "|".join(sorted(ABBREVIATIONS))
_FEW = "{0,60}"
"""Characters of a word that are searched; without a limit, a word of n brackets and stops takes time n³."""
# In turn: the start of the text; a quote after a comma or colon; a word with a closing mark and a space. The word may
# not be a listed abbreviation, a single letter other than i (an initial), or have a stop inside (e.g.).
_BEGINNING = re.compile(
    rf"(?:^|(?<=[,:] [\"“])|(?<![^\s\"“'(\[])(?!(?i:{_SHORT}|[a-hj-z]|\S{_FEW}\.\S{_FEW}\S)\.\s)"
    rf"\S{_FEW}[.!?][\"'”’»)\]]{_FEW} )"
    rf"{_OPENING}(?=[^\W\d_])"
)
"""Ends before the first letter of a sentence: of the text, of speech, or after a mark other than an abbreviation's."""


class Casing(NamedTuple):
    """Which capitals a language has, as sentences showed it.

    Fields:
      words: how words are written inside a sentence, by their lower-case form; only those with capitals.
      begins: whether sentences begin with a capital.
    """

    words: dict[str, str]
    begins: bool

    @classmethod
    def learn(cls, sentences: Iterable[str]) -> Self:
        """Count the most frequent form of each word inside sentences, and how most sentences begin."""
        forms: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        capital = small = 0
        for sentence in sentences:
            starts = set(beginnings(sentence))
            for match in _WORD.finditer(sentence):
                if match.start() in starts:
                    capital += match[0][0].isupper()
                    small += match[0][0].islower()
                else:
                    # only inside a sentence: at its beginning a capital says nothing of the word
                    forms[match[0].lower()][match[0]] += 1
        usual = {word: max(counts, key=lambda form: counts[form]) for word, counts in forms.items()}
        # sorted, so that a run's file is the same each time
        return cls({word: form for word, form in sorted(usual.items()) if form != word}, capital > small)

    def restored(self, text: str) -> str:
        """Return a lower-case text with its capitals restored."""
        text = _WORD.sub(lambda match: self.words.get(match[0], match[0]), text) if self.words else text
        if self.begins:
            for at in beginnings(text):
                text = text[:at] + _capital(text[at]) + text[at + 1 :]
        return text

    def facts(self) -> dict[str, Any]:
        """Return the facts that a run saves."""
        return self._asdict()


AS_IT_IS = Casing({}, False)
"""No capitals."""
FIRST_LETTER = rf"^{_OPENING}[^\W\d_]"
"""An expression for the beginning of a text up to its first letter."""


def beginnings(text: str) -> list[int]:
    """Return the places of the first letters of sentences."""
    return [match.end() for match in _BEGINNING.finditer(text)]


@functools.cache
def _capital(letter: str) -> str:
    """Return a letter as a capital, unchanged if its capital is more than one letter: ß."""
    capital = letter.title()
    return capital if len(capital) == 1 else letter
