"""What is a name, and what becomes of it."""

import pytest

from applications.reading import names
from applications.reading.cloze import PLACEHOLDER, Cloze, questions


def sentences(*lines):
    return [line.split() for line in lines]


def test_a_name_has_its_capital_within_sentences():
    text = sentences(
        "Then Peter ran , and The Fox did not see Peter .",
        "Peter met Mr. Toad . ` Yes , I 'm late , ' said the King ; ` No .",
        "The king of all told Mr. Toad : Beware of the fox , O the day !",
    )
    assert names.names_of(text, least=1) == {"Peter", "Mr.", "Toad"}  # king and fox are small too
    assert names.names_of(text[:1], least=2) == {"Peter"}
    assert names.names_of(text[:1], least=1) == {"Peter", "The", "Fox"}
    assert names.names_of(text[2:], least=1) == {"Mr.", "Toad"}  # Beware opens; O is a letter


def test_runs_of_names_are_one_word_and_only_names_begin_with_an_at_sign():
    known = frozenset({"Mr.", "Toad", "Peter", "O'Brien"})
    (sentence,) = sentences("Toad met Mr. Toad and Peter O'Brien @home @ 3 @Toad")
    assert names.mark(sentence, known) == [
        *("@Toad", "met", "@Mr_Toad", "and", "@Peter_O_Brien"),
        *("home", "at", "3", "Toad"),
    ]
    assert names.mark([], known) == []


def test_running_text_becomes_sentences_of_words():
    assert names.sentences_of("Mr. Obama's well-known team, U.S. based, won! Did it? I'm") == [
        ["Mr.", "Obama", "'s", "well-known", "team", ",", "U.S.", "based", ",", "won", "!"],
        ["Did", "it", "?"],
        ["I", "'m"],
    ]
    assert names.sentences_of(" \n ") == []


def test_every_entity_of_the_passage_is_left_out_once():
    passage = "@A met @B and @C .".split()
    query = "@B and @B saw @A and @D .".split()
    hidden = PLACEHOLDER
    assert list(questions(passage, query)) == [
        Cloze(" ".join(passage), f"{hidden} and {hidden} saw @A and @D .", "@B"),
        Cloze(" ".join(passage), f"@B and @B saw {hidden} and @D .", "@A"),
    ]


@pytest.mark.parametrize("passage", ["@A met @A .", "nobody met a @", f"@A met {PLACEHOLDER}"])
def test_nothing_is_asked_where_there_is_no_choice(passage):
    assert not list(questions(passage.split(), "@A came .".split()))
