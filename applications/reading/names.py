"""Who and what is named in a text, from nothing but its capital letters.

A word is a name if it has a capital within sentences, so often as is asked for, and more often than
it stands anywhere in lower case. Wherever it has a capital it is one, also where a sentence begins;
and names beside each other are one name: Peter Rabbit, Mr. Toad. Who is called by two names counts
as two, for nothing is known of who is meant.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

NAME = re.compile(r"[A-Z][\w.'’-]+")  # a single letter is no name, nor is I'm
NO_NAME = re.compile(r"I['’]\w+")
# What may have a sentence begin after it: ends, colons, and all that opens speech or brackets.
OPENS = frozenset(
    ". ! ? : ; ... … -- - – — ` `` ' '' \" “ ” ‘ ’ -LRB- -LSB- -RRB- -RSB- ( ) [ ]".split()
)
WORD = re.compile(
    r"(?:Mr|Mrs|Ms|Dr|St)\."  # whose full stop ends no sentence
    r"|(?:[A-Za-z]\.){2,}"
    r"|['’](?:s|ll|re|ve|d|m)\b"
    r"|\w+(?:-\w+)*"
    r"|[^\w\s]"
)
ENDS = frozenset(".!?")


def names_of(sentences: Iterable[Sequence[str]], least: int) -> frozenset[str]:
    """The names in a text.

    Args:
        sentences: Its sentences, as words.
        least: How often a name has to stand within a sentence.
    """
    within, lower = Counter[str](), Counter[str]()
    for sentence in sentences:
        for before, word in zip(("", *sentence), sentence, strict=False):
            if word.islower():
                lower[word] += 1
            elif _is_capital(word) and before and before not in OPENS:
                within[word] += 1
    return frozenset(
        word for word, count in within.items() if count >= least and count > lower[word.lower()]
    )


def mark(sentence: Sequence[str], names: frozenset[str]) -> list[str]:
    """The sentence with each run of names as one word that begins with `@`."""
    marked: list[str] = []
    run: list[str] = []
    for word in (*sentence, ""):
        if word in names:
            run.append(word)
            continue
        if run:
            marked.append("@" + re.sub(r"[\W_]+", "_", " ".join(run)).strip("_"))
            run = []
        marked.append(word.lstrip("@") or "at" if word.startswith("@") else word)
    return marked[:-1]


def sentences_of(text: str) -> list[list[str]]:
    """A running text as sentences of words."""
    sentences: list[list[str]] = [[]]
    for word in WORD.findall(text):
        sentences[-1].append(word)
        if word in ENDS:
            sentences.append([])
    return [sentence for sentence in sentences if sentence]


def _is_capital(word: str) -> bool:
    return bool(NAME.fullmatch(word)) and not NO_NAME.fullmatch(word)
