"""The default data set: dates as people write them around the world, and what they mean.

The source is a calendar date in one of the forms that Unicode's CLDR (by way of Babel) gives for
a locale, the target its ISO form: `3 de nov. de 2026` → `2026-11-03`. Nothing is downloaded, and
since each form is written field by field, it is known exactly which characters say what.

Every source has one meaning, so that a perfect score is possible though no source names its locale:

* years are written in full: a pattern's `yy` becomes `y`;
* only the Gregorian calendar, without eras, is used;
* 03/04/2026 is March in one locale and April in another, so a month in digits is used only where
  year, month and day come in this order, or where the day is above 12;
* a month name with two meanings is not used: `listopada` is October in Croatian and November in
  Polish.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import NamedTuple

import numpy as np
from babel import Locale, UnknownLocaleError
from babel.dates import DateTimeFormat, tokenize_pattern

LOCALES = (
    *("bg", "ca", "cs", "da", "de", "el", "en_GB", "en_US", "es", "fi"),
    *("fr", "he", "hi", "hr", "hu", "id", "it", "ja", "ko", "nb"),
    *("nl", "pl", "pt", "ro", "ru", "sv", "tr", "uk", "vi", "zh"),
)
# Written everywhere, though CLDR lists it for few locales.
ISO_PATTERN = "y-MM-dd"
# Written wherever the long form does not put the year first.
EVERYDAY_PATTERNS = ("d MMM y", "d MMMM y", "EEE d MMM y")
LOWER_CASE_RATE = 0.25
NO_COMMA_RATE = 0.25
HELD_OUT_RATE = 0.1  # of the calendar, for validation and for test each

Link = tuple[int, int]


class Fields(NamedTuple):
    """The character positions that hold each part of a date."""

    year: range
    month: range
    day: range


ISO_FIELDS = Fields(year=range(0, 4), month=range(5, 7), day=range(8, 10))


class Alignment(NamedTuple):
    """Links (source position, target position), as annotators of word alignments give them.

    `sure` is the part of `possible` that any reading must have: here, a target digit and the same
    digit in the source. The rest of a field is only `possible`: a month's name says the whole
    number, none of its letters says one digit. Hyphens align with nothing.
    """

    sure: frozenset[Link]
    possible: frozenset[Link]


@dataclass(frozen=True, slots=True)
class DatePair:
    """A written date, its ISO form, and where in `source` its year, month and day stand."""

    source: str
    target: str
    fields: Fields
    locale: str

    @property
    def alignment(self) -> Alignment:
        """Which source characters express each target character."""
        sure: set[Link] = set()
        possible: set[Link] = set()
        for source_field, target_field in zip(self.fields, ISO_FIELDS, strict=True):
            possible.update((i, j) for j in target_field for i in source_field)
            digits = [i for i in source_field if self.source[i].isdecimal()]
            # Right-aligned: the 3 of "3 May" is the second digit of "03".
            for i, j in zip(reversed(digits), reversed(target_field), strict=False):
                if unicodedata.decimal(self.source[i]) == int(self.target[j]):
                    sure.add((i, j))
        return Alignment(frozenset(sure), frozenset(possible))


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write a date in one locale: a CLDR pattern, parsed.

    `runs` holds (kind, text) in writing order. For a field, kind is `y`, `M`, `d` or `E` (weekday)
    and text is its CLDR code, such as `MMMM`; for a literal, kind is empty.
    """

    locale: Locale
    runs: tuple[tuple[str, str], ...]

    @property
    def order(self) -> str:
        """The order of year, month and day, such as `dMy`."""
        return "".join(kind for kind, _ in self.runs if kind in "yMd")

    def month_text(self, month: int) -> str:
        """How this form spells a month: in digits or by its name."""
        code = next(text for kind, text in self.runs if kind == "M")
        return DateTimeFormat(date(2000, month, 1), self.locale)[code]

    def write(self, day: date, *, lower: bool = False, commas: bool = True) -> DatePair:
        """The pair for `day`, as is or with a writer's habits: no capitals, no commas."""
        values = DateTimeFormat(day, self.locale)
        source = ""
        fields: dict[str, range] = {}
        for kind, text in self.runs:
            run = values[text] if kind else text
            if not kind and not commas:
                run = run.replace(",", "") or " "  # never glue two fields together
            if lower:
                run = run.lower()  # may change its length: Turkish İ
            fields[kind] = range(len(source), len(source) + len(run))
            source += run
        spans = Fields(fields["y"], fields["M"], fields["d"])
        return DatePair(source, day.isoformat(), spans, str(self.locale))


class DateSplits(NamedTuple):
    """Date pairs to learn from, to choose a model by, and to judge it by."""

    train: list[DatePair]
    validation: list[DatePair]
    test: list[DatePair]


def dates(
    num_examples: int,
    *,
    seed: int,
    locales: Sequence[str] | None = None,
    start: date = date(1950, 1, 1),
    end: date = date(2049, 12, 31),
) -> list[DatePair]:
    """Draw written dates and their ISO forms.

    Args:
        num_examples: how many pairs to draw. Locales take turns, so each has its share.
        seed: the same seed draws the same pairs, in any process.
        locales: CLDR locale names; `LOCALES` if not given.
        start: the earliest date, in the year 1000 or later, since years have four digits.
        end: the latest date.

    Returns:
        A list of `DatePair`, in random order.

    Example:

    >>> pair = dates(1, seed=3, locales=["pt"])[0]
    >>> year, month, day = (pair.source[span.start : span.stop] for span in pair.fields)
    >>> int(year) == int(pair.target[:4]) and int(day) == int(pair.target[8:])
    True
    """
    if not date(1000, 1, 1) <= start <= end:
        raise ValueError(
            "`start` must be in the year 1000 or later and not after `end`. "
            f"Received: start={start}, end={end}."
        )
    days = np.arange(start.toordinal(), end.toordinal() + 1)
    return _draw(num_examples, days, locales, np.random.default_rng(seed))


def date_splits(
    num_train: int,
    num_validation: int,
    num_test: int,
    *,
    seed: int,
    locales: Sequence[str] | None = None,
) -> DateSplits:
    """Draw three sets of pairs that share no calendar date, so that none can be memorised.

    A tenth of the days from 1950 to 2049 is kept for validation and another tenth for test. The
    locales take turns in each set, and none depends on the size of the others.
    """
    calendar = np.arange(date(1950, 1, 1).toordinal(), date(2050, 1, 1).toordinal())
    calendar = np.random.default_rng(seed).permutation(calendar)
    share = round(HELD_OUT_RATE * len(calendar))
    validation, test, train = np.split(calendar, [share, 2 * share])
    return DateSplits(
        train=_draw(num_train, train, locales, np.random.default_rng([seed, 1])),
        validation=_draw(num_validation, validation, locales, np.random.default_rng([seed, 2])),
        test=_draw(num_test, test, locales, np.random.default_rng([seed, 3])),
    )


def _draw(
    num_examples: int,
    days: np.ndarray,
    locales: Sequence[str] | None,
    rng: np.random.Generator,
) -> list[DatePair]:
    """Pairs of the given days (proleptic ordinals), in random order."""
    if num_examples < 0:
        raise ValueError(f"The number of pairs must not be negative. Received: {num_examples}.")
    names = LOCALES if locales is None else tuple(locales)
    writable = writable_forms(names)
    drawn_days = rng.choice(days, num_examples)
    drawn_forms = rng.random(num_examples)
    lower = rng.random(num_examples) < LOWER_CASE_RATE
    commas = rng.random(num_examples) >= NO_COMMA_RATE
    pairs = []
    for index in rng.permutation(num_examples):
        day = date.fromordinal(int(drawn_days[index]))
        forms = writable[names[index % len(names)], day.month, day.day > 12]
        form = forms[int(drawn_forms[index] * len(forms))]
        pairs.append(form.write(day, lower=bool(lower[index]), commas=bool(commas[index])))
    return pairs


@cache
def locale_forms(name: str) -> tuple[Form, ...]:
    """Every way that CLDR knows to write a whole date in a locale, and the everyday ones."""
    try:
        locale = Locale.parse(name)
    except (UnknownLocaleError, ValueError) as error:
        raise ValueError(
            f"`locales` must name locales of the CLDR, such as 'pt' or 'en_GB'. Received: {name!r}."
        ) from error
    patterns = [format.pattern for format in locale.date_formats.values()]
    patterns += [format.pattern for format in locale.datetime_skeletons.values()]
    patterns.append(ISO_PATTERN)
    long_form = _parse(locale.date_formats["long"].pattern, locale)
    if long_form and not long_form.order.startswith("y"):
        patterns += EVERYDAY_PATTERNS
    forms = (_parse(pattern, locale) for pattern in patterns)
    return tuple(dict.fromkeys(form for form in forms if form))


def _parse(pattern: str, locale: Locale) -> Form | None:
    """The form of a CLDR pattern, years in full; None unless it writes a whole date and no era.

    Nor is there one of `ddd`, in the CLDR of Babel 2.19, which writes the third of a month as 003.
    """
    runs: list[tuple[str, str]] = []
    for _, token in tokenize_pattern(pattern):
        if isinstance(token, str):
            runs.append(("", token))
        else:
            symbol, count = token
            kind = {"L": "M", "c": "E"}.get(symbol, symbol)  # standing alone, not in a phrase
            runs.append((kind, "y" if token == ("y", 2) else symbol * count))
    kinds = sorted(kind for kind, _ in runs if kind)
    if kinds not in (["M", "d", "y"], ["E", "M", "d", "y"]) or ("d", "ddd") in runs:
        return None
    return Form(locale, tuple(runs))


@cache
def writable_forms(names: tuple[str, ...]) -> Mapping[tuple[str, int, bool], tuple[Form, ...]]:
    """The forms that cannot be misread, by (locale, month, whether the day is above 12)."""
    if not names:
        raise ValueError("`locales` must name at least one locale. Received: an empty sequence.")
    forms = {name: locale_forms(name) for name in names}
    ambiguous = _ambiguous_month_names(form for group in forms.values() for form in group)
    writable: dict[tuple[str, int, bool], list[Form]] = defaultdict(list)
    for name, group in forms.items():
        for form in group:
            for month in range(1, 13):
                text = form.month_text(month)
                if _plain(text) in ambiguous:
                    continue
                if not text.isdecimal() or form.order == "yMd":
                    writable[name, month, False].append(form)
                writable[name, month, True].append(form)
    return {key: tuple(group) for key, group in writable.items()}


def _ambiguous_month_names(forms: Iterable[Form]) -> set[str]:
    """The month names that mean one month in one locale and another month in another."""
    meanings: dict[str, set[int]] = defaultdict(set)
    for form in forms:
        for month in range(1, 13):
            meanings[_plain(form.month_text(month))].add(month)
    return {name for name, months in meanings.items() if len(months) > 1}


def _plain(name: str) -> str:
    """A month name as a hurried reader sees it: no capitals, no final full stop."""
    return name.casefold().rstrip(".")
