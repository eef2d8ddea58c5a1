"""Checkers of each problem, in plain Python, that read a sequence as a person would."""

from __future__ import annotations

import re


def copied(inputs, targets):
    """Checks a sequence of copy; returns its size."""
    end = marked(inputs, 8, 1)[0]
    shown = [tuple(step[:8]) for step in inputs[:end]]
    assert answers(targets, end + 1) == shown
    return end


def repeated(inputs, targets):
    """Checks a sequence of repeat copy; returns its size and times."""
    end = marked(inputs, 8, 1)[0]
    times = round(inputs[end][9] * 8.25**0.5 + 5.5)
    shown = [(*step[:8], 0) for step in inputs[:end]]
    assert answers(targets, end + 1) == shown * times + [(0,) * 8 + (1,)]
    return end, times


def recalled(inputs, targets):
    """Checks a sequence of associative recall; returns the number of items."""
    starts, (query, end) = marked(inputs, 6), marked(inputs, 7, 2)
    items = [[tuple(step[:6]) for step in inputs[at + 1 : at + 4]] for at in starts]
    assert starts == [4 * item for item in range(len(items))] and query == 4 * len(items)
    asked = [tuple(step[:6]) for step in inputs[query + 1 : end]]
    assert answers(targets, end + 1) == items[items.index(asked) + 1]
    return len(items)


def sorted_(inputs, targets):
    """Checks a sequence of priority sort; returns the number of vectors."""
    end = marked(inputs, 9, 1)[0]
    shown = sorted(inputs[:end], key=lambda step: -step[8])
    kept = max(1, 4 * end // 5)
    assert answers(targets, end + 1) == [tuple(step[:8]) for step in shown[:kept]]
    return end


def marked(inputs, channel, count=None):
    """The steps that are marked on a channel."""
    steps = [at for at, step in enumerate(inputs) if step[channel] == 1.0]
    assert count is None or len(steps) == count
    return steps


def answers(targets, start):
    """What is asked; all of it at steps in a row, from `start` on."""
    rows = [at for at, step in enumerate(targets) if step[0] != -1]
    assert rows == list(range(start, start + len(rows)))
    assert all(all(bit == -1 for bit in step) for at, step in enumerate(targets) if at not in rows)
    return [tuple(int(bit) for bit in targets[at]) for at in rows]


def split(problem, text):
    """The words of a stream that begins with a whole one; the last may be cut short."""
    if problem != "memorization":
        return re.findall(r"a+[b-d]*", text)
    words = []
    while text:
        end = 2 * text.index("#") + 1 if "#" in text else len(text)
        words.append(text[:end])
        text = text[end:]
    return words


def size_of(problem, word):
    """The size of a whole word; `None` where it is none."""
    counts = [word.count(symbol) for symbol in "abcd"]
    a, b, c, d = counts
    if problem == "memorization":
        size = word.index("#")
        return size if word == word[:size] + "#" + word[:size][::-1] else None
    if word != "".join(symbol * count for symbol, count in zip("abcd", counts, strict=True)):
        return None
    right = {
        "anbn": (a, a, 0, 0),
        "anbncn": (a, a, a, 0),
        "anbncndn": (a, a, a, a),
        "anb2n": (a, 2 * a, 0, 0),
        "anbmcnm": (a, b, a + b, 0),
    }[problem]
    if tuple(counts) != right or min(a, b) == 0:
        return None
    return a + b if problem == "anbmcnm" else a


def follows(problem, words):
    """Whether each symbol of whole words in a row can be told from what is before it."""
    known = []
    for word in words:
        if problem == "memorization":
            size = word.index("#")
            known += [False] * (size + 1) + [True] * size
        else:
            first = word.index("c" if problem == "anbmcnm" else "b")
            known += [True] + [False] * first + [True] * (len(word) - first - 1)
    return known
