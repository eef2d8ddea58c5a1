"""Written dates: exact spans, one meaning for each source, splits without overlap."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, timedelta

import pytest
from babel import Locale
from babel.dates import format_date
from hypothesis import given, settings
from hypothesis import strategies as st

from applications.translation.dates import (
    ISO_FIELDS,
    LOCALES,
    DatePair,
    Fields,
    Form,
    date_splits,
    dates,
    locale_forms,
    writable_forms,
)

ALL_FORMS = [form for name in LOCALES for form in locale_forms(name)]
DAYS = st.dates(date(1950, 1, 1), date(2049, 12, 31))


def pattern_of(form: Form) -> str:
    """The CLDR pattern that a form was parsed from, every literal quoted; adjacent ones as one."""
    pattern = ""
    for kind, text in form.runs:
        pattern += text if kind else "'" + text.replace("'", "''") + "'"
    return pattern.replace("''", "")


def spelled(pair: DatePair) -> list[str]:
    """What stands in the source where year, month and day should be."""
    return [pair.source[span.start : span.stop] for span in pair.fields]


def month_names(form: Form, month: int) -> set[str]:
    """All that CLDR's own table calls a month in the locale of `form`, and its number."""
    tables = form.locale.months
    names = {tables[use][width][month] for use in tables for width in ("abbreviated", "wide")}
    return names | {str(month), f"{month:02}"}


def test_there_are_thirty_locales_with_several_forms_each():
    assert len(set(LOCALES)) == 30
    assert all(len(locale_forms(name)) >= 5 for name in LOCALES)


@pytest.mark.parametrize("name", LOCALES)
def test_forms_are_written_as_babel_writes_them(name):
    for form in locale_forms(name):
        for month in range(1, 13):
            for day in (date(2026, month, 3), date(1987, month, 27)):
                assert form.write(day).source == format_date(day, pattern_of(form), locale=name)


@pytest.mark.parametrize("name", LOCALES)
def test_every_standard_format_of_the_locale_is_among_its_forms(name):
    day = date(2026, 11, 23)
    sources = {form.write(day).source for form in locale_forms(name)}
    for pattern in Locale.parse(name).date_formats.values():
        full_year = pattern.pattern.replace("yy", "y")
        assert format_date(day, full_year, locale=name) in sources


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("commas", [False, True])
@pytest.mark.parametrize("name", LOCALES)
def test_spans_spell_year_month_and_day(name, commas, lower):
    for form in locale_forms(name):
        for month in range(1, 13):
            for day in (date(2026, month, 3), date(1987, month, 27)):
                year, month_text, day_text = spelled(form.write(day, lower=lower, commas=commas))
                names = month_names(form, month)
                assert year == str(day.year)
                assert month_text in ({name.lower() for name in names} if lower else names)
                assert day_text in {str(day.day), f"{day.day:02}"}


@given(form=st.sampled_from(ALL_FORMS), day=DAYS)
def test_habits_change_only_capitals_and_commas(form, day):
    plain = form.write(day)
    assert form.write(day, lower=True).source == plain.source.lower()
    no_commas = form.write(day, commas=False)
    assert "," not in no_commas.source
    assert no_commas.source.replace(" ", "") == plain.source.replace(",", "").replace(" ", "")
    assert spelled(no_commas) == spelled(plain)
    assert plain.target == no_commas.target == day.isoformat()


def test_a_comma_alone_between_fields_leaves_a_space():
    form = Form(Locale("en"), (("M", "MMM"), ("", " "), ("d", "d"), ("", ","), ("y", "y")))
    pair = form.write(date(2026, 11, 3), commas=False)
    assert pair.source == "Nov 3 2026"
    assert pair.fields == Fields(year=range(6, 10), month=range(0, 3), day=range(4, 5))


def test_spans_follow_when_lower_case_is_longer():
    form = Form(
        Locale("tr"), (("", "İ "), ("d", "d"), ("", " "), ("M", "MMMM"), ("", " "), ("y", "y"))
    )
    pair = form.write(date(2026, 11, 3), lower=True)
    assert len(pair.source) > len(form.write(date(2026, 11, 3)).source)
    assert spelled(pair) == ["2026", "kasım", "3"]


def test_alignment_of_a_month_name_by_hand():
    pair = DatePair(
        "3 May 2026", "2026-05-03", Fields(range(6, 10), range(2, 5), range(0, 1)), "en"
    )
    sure, possible = pair.alignment
    assert sure == {(6, 0), (7, 1), (8, 2), (9, 3), (0, 9)}
    year = {(i, j) for i in (6, 7, 8, 9) for j in (0, 1, 2, 3)}
    month = {(i, j) for i in (2, 3, 4) for j in (5, 6)}
    assert possible == year | month | {(0, 8), (0, 9)}


def test_alignment_of_digits_within_a_month_name_is_sure():
    pair = DatePair(
        "3 tháng 11, 2026", "2026-11-03", Fields(range(12, 16), range(2, 10), range(0, 1)), "vi"
    )
    assert {link for link in pair.alignment.sure if link[1] in (5, 6)} == {(8, 5), (9, 6)}


@given(form=st.sampled_from(ALL_FORMS), day=DAYS, lower=st.booleans(), commas=st.booleans())
def test_alignment_invariants(form, day, lower, commas):
    pair = form.write(day, lower=lower, commas=commas)
    sure, possible = pair.alignment
    assert sure <= possible
    assert all(pair.source[i] == pair.target[j] for i, j in sure)
    assert {j for _, j in possible} == {j for field in ISO_FIELDS for j in field}  # no hyphen
    assert {j for _, j in sure} >= set(ISO_FIELDS.year) | {ISO_FIELDS.day[-1]}
    assert len(sure) == len({i for i, _ in sure}) == len({j for _, j in sure})


def test_iso_dates_align_digit_by_digit():
    (form,) = (f for f in locale_forms("de") if pattern_of(f) == "y'-'MM'-'dd")
    pair = form.write(date(2026, 11, 23))
    assert pair.source == pair.target
    assert pair.alignment.sure == {(k, k) for k in (0, 1, 2, 3, 5, 6, 8, 9)}


def test_no_source_has_two_meanings():
    """Over one whole year, every pair that can be drawn; the year is always there in full."""
    meaning: dict[str, str] = {}
    for offset in range(365):
        day = date(2026, 1, 1) + timedelta(days=offset)
        for name in LOCALES:
            for form in writable_forms(LOCALES)[name, day.month, day.day > 12]:
                pair = form.write(day, lower=True, commas=False)  # all others map onto it
                assert meaning.setdefault(pair.source, pair.target) == pair.target


@given(seed=st.integers(0, 2**32))
@settings(max_examples=5, deadline=None)
def test_no_two_drawn_pairs_disagree(seed):
    meaning: dict[str, str] = {}
    for pair in dates(2003, seed=seed):
        assert meaning.setdefault(pair.source, pair.target) == pair.target


def test_month_names_with_two_meanings_are_not_used():
    november = {form.write(date(2026, 11, 23)).source for form in locale_forms("pl")}
    drawable = writable_forms(("pl", "hr"))["pl", 11, True]
    assert "23 listopada 2026" in november
    assert "23 listopada 2026" not in {form.write(date(2026, 11, 23)).source for form in drawable}
    alone = writable_forms(("pl",))["pl", 11, True]
    assert "23 listopada 2026" in {form.write(date(2026, 11, 23)).source for form in alone}


def test_numeric_months_need_iso_order_or_a_late_day():
    def sources(name: str, day: date) -> set[str]:
        forms = writable_forms((name,))[name, day.month, day.day > 12]
        return {form.write(day).source for form in forms}

    assert "03/04/2026" not in sources("en_GB", date(2026, 4, 3))
    assert "13/04/2026" in sources("en_GB", date(2026, 4, 13))
    assert "2026/04/03" in sources("ja", date(2026, 4, 3))


def test_draws_have_the_asked_locales_in_equal_shares_and_dates_in_range():
    pairs = dates(
        21, seed=5, locales=("ja", "pt", "tr"), start=date(2024, 2, 28), end=date(2024, 3, 2)
    )
    assert sorted(pair.locale for pair in pairs) == ["ja"] * 7 + ["pt"] * 7 + ["tr"] * 7
    assert {"2024-02-28", "2024-03-02"} <= {pair.target for pair in pairs}
    assert all("2024-02-28" <= pair.target <= "2024-03-02" for pair in pairs)
    assert dates(0, seed=5) == []


def test_sources_are_sometimes_lower_cased_and_sometimes_without_commas():
    sources = [pair.source for pair in dates(997, seed=7, locales=["en_US"])]
    worded = [source for source in sources if source.upper() != source.lower()]
    assert 0.15 < sum(source.islower() for source in worded) / len(worded) < 0.35
    assert any("," in source for source in worded) and any("," not in source for source in worded)


def test_the_same_seed_draws_the_same_pairs_in_another_process():
    code = (
        "from applications.translation.dates import dates\n"
        "print(*(ascii(pair.source + pair.target) for pair in dates(101, seed=11)), sep='\\n')"
    )
    environment = os.environ | {"PYTHONHASHSEED": "17"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment, check=True
    )
    here = [ascii(pair.source + pair.target) for pair in dates(101, seed=11)]
    assert run.stdout.decode().split("\n")[:-1] == here
    assert dates(101, seed=12) != dates(101, seed=11)


def test_tensorflow_is_not_imported():
    code = (
        "import sys, applications.translation.dates, applications.training.metrics, "
        "applications.training.text_files\n"
        "sys.exit('tensorflow' in sys.modules or 'sacrebleu' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_splits_share_no_date_and_have_every_locale():
    splits = date_splits(3001, 503, 499, seed=13)
    assert [len(pairs) for pairs in splits] == [3001, 503, 499]
    train, validation, test = ({pair.target for pair in pairs} for pairs in splits)
    assert not (train & validation or train & test or validation & test)
    for pairs in splits:
        assert {pair.locale for pair in pairs} == set(LOCALES)


def test_a_split_does_not_depend_on_the_size_of_the_others():
    one, other = date_splits(31, 37, 41, seed=17), date_splits(43, 37, 41, seed=17)
    assert one.validation == other.validation and one.test == other.test
    assert one != date_splits(31, 37, 41, seed=18)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"locales": ["xx_YY"]}, r"must name locales of the CLDR.*Received: 'xx_YY'"),
        ({"locales": ["pt-BR!"]}, r"must name locales of the CLDR.*Received: 'pt-BR!'"),
        ({"locales": []}, r"at least one locale\. Received: an empty sequence"),
        ({"start": date(999, 12, 31)}, r"year 1000 or later.*Received: start=0999-12-31, end=2049"),
        (
            {"end": date(1949, 1, 1)},
            r"not after `end`\. Received: start=1950-01-01, end=1949-01-01",
        ),
        ({"num_examples": -3}, r"must not be negative\. Received: -3"),
    ],
)
def test_errors_say_what_was_expected(arguments, message):
    with pytest.raises(ValueError, match=message):
        dates(**({"num_examples": 3, "seed": 1} | arguments))
