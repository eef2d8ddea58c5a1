"""Text becomes ids, the same way whoever asks."""

import numpy as np
import pytest
import tensorflow as tf

from applications.reading import encoding
from applications.reading.cloze import PLACEHOLDER, Cloze

WORDS = (PLACEHOLDER, "met", ".", "lamp", "zoë", "the")
FIRST = encoding.FIRST_WORD + len(WORDS)


def encoder(num_entities=3, max_length=12):
    return encoding.Encoder(WORDS, num_entities, max_length)


def oracle(passage, query, num_entities, max_length):
    """Ids of words that are apart already, by a loop."""
    known = {word: at for at, word in enumerate(WORDS, encoding.FIRST_WORD)}
    names, both = {}, []
    for words in (passage.split()[:max_length], query.split()[:max_length]):
        ids = []
        for word in words:
            if word.startswith("@") and word not in ("@", PLACEHOLDER):
                number = names.setdefault(word, len(names))
                ids.append(FIRST + number if number < num_entities else encoding.UNKNOWN)
            else:
                ids.append(known.get(word.lower(), encoding.UNKNOWN))
        both.append(ids)
    return *both, list(names)


@pytest.mark.parametrize("max_length", [4, 12])
def test_entities_are_numbered_as_they_appear(max_length):
    passages = ["@B met @A . The lamp @B @ x", "", "@Q", "@A @B @C @D @E met @D @A"]
    queries = [f"{PLACEHOLDER} met @Z @A", f"{PLACEHOLDER}", f"@Q @R {PLACEHOLDER}", "Zoë ."]
    ids = encoder(3, max_length)(tf.constant(passages), tf.constant(queries))
    for row, (passage, query) in enumerate(zip(passages, queries, strict=True)):
        expected, asked, names = oracle(passage, query, 3, max_length)
        for found, right in ((ids.passage, expected), (ids.query, asked)):
            np.testing.assert_array_equal(found[row, : len(right)], right)
            assert not found[row, len(right) :].numpy().any()
        tokens = [token.encode() for token in passage.split()[:max_length]]
        assert ids.tokens[row].numpy().tolist() == tokens + [b""] * (
            ids.tokens.shape[1] - len(tokens)
        )
        shown = [name.encode() for name in names[:3]]
        assert ids.names[row].numpy().tolist() == shown + [b""] * (3 - len(shown))
        assert ids.num_entities[row] == len(names)


def test_marks_are_words_by_themselves_and_any_bytes_are_taken():
    ids = encoder()([b"@Anna_2met@Zo\xc3\xab,the lamp.\xff", b""], [f"({PLACEHOLDER})", "\n\t"])
    assert [token.decode() for token in ids.tokens[0].numpy() if token] == [
        *("@Anna_2met", "@Zoë", ",", "the", "lamp", ".", "\ufffd"),
    ]
    assert ids.query[0].numpy().tolist() == [1, 2, 1] and ids.passage.shape == (2, 7)


def test_nothing_at_all_is_one_column_of_padding():
    ids = encoder()(tf.constant(["", ""]), tf.constant(["", ""]))
    assert ids.passage.shape == ids.query.shape == ids.tokens.shape == (2, 1)
    assert not ids.passage.numpy().any() and not ids.num_entities.numpy().any()


def test_questions_become_arrays_unless_a_marker_or_the_answer_is_missing():
    asked = [
        Cloze("@B met @A .", f"@A met {PLACEHOLDER} .", "@B"),
        Cloze("@A met @B .", f"@C met {PLACEHOLDER} @D .", "@B"),  # four entities
        Cloze("the " * 12 + "@A met @B .", f"{PLACEHOLDER} met @B .", "@A"),  # past the end
        Cloze("@A . . @B", f"the {PLACEHOLDER}", "@B"),
    ]
    encoded, kept = encoding.encode(asked, encoder())
    assert kept == [0, 3] and encoded.answers.tolist() == [0, 1]
    passages, queries, answers = encoded.batch([1, 0])
    assert passages.tolist() == [[FIRST, 4, 4, FIRST + 1], [FIRST, 3, FIRST + 1, 4]]
    assert queries.tolist() == [[7, 2, 0, 0], [FIRST + 1, 3, 2, 4]] and answers.tolist() == [1, 0]
    assert encoded.only([1]).answers.tolist() == [1]


def test_dealing_markers_anew_keeps_who_is_who():
    made = encoder(num_entities=5)
    draw = np.random.default_rng(0)
    passage = draw.integers(0, FIRST + 5, (400, 9)).astype(np.int32)
    query = draw.integers(0, FIRST + 5, (400, 4)).astype(np.int32)
    answers = draw.integers(0, 5, 400).astype(np.int32)
    *dealt, told = encoding.permute((passage, query), answers, made, draw)
    for old, new in zip((passage, query), dealt, strict=True):
        words = old < FIRST
        np.testing.assert_array_equal(old[words], new[words])
        assert new.dtype == np.int32 and (new[~words] >= FIRST).all()
    for row in range(400):
        old = np.concatenate([passage[row], query[row], [FIRST + answers[row]]])
        new = np.concatenate([dealt[0][row], dealt[1][row], [FIRST + told[row]]])
        markers = old >= FIRST
        pairs = set(zip(old[markers].tolist(), new[markers].tolist(), strict=True))
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert np.bincount(told, minlength=5).min() > 50  # each marker for each entity


def test_the_vocabulary_is_what_was_seen_twice_and_no_entity():
    asked = [Cloze("@A met @B . Lamp", f"{PLACEHOLDER} met THE lamp @", "@A")] * 2
    told = encoding.vocabulary(asked, 50)
    assert told == (PLACEHOLDER, "lamp", "met", ".", "@", "the")
    assert encoding.vocabulary(asked, 3) == told[:3]
    once = [Cloze("@A met @B now", f"{PLACEHOLDER} met", "@A")]
    assert encoding.vocabulary(once, 50) == (PLACEHOLDER, "met")
