"""Pictures of digits: they show what their sentence says, where it says so."""

import numpy as np
import pytest

from applications.captioning import scenes


@pytest.fixture(scope="module")
def drawn():
    return scenes.draw(800, "train", "a")


def text(sentence):
    return " ".join(word.text for word in sentence)


def test_scenes_follow_from_part_and_seed_alone(drawn):
    again = scenes.draw(800, "train", "a")
    np.testing.assert_array_equal(drawn.images, again.images)
    assert drawn.sentences == again.sentences
    assert not np.array_equal(drawn.images, scenes.draw(800, "train", "b").images)


def test_no_part_shows_a_digit_of_another():
    _, parts = scenes.handwritten()
    shown = [set(sum(parts[name], [])) for name in scenes.PARTS]
    assert set.union(*shown) == set(range(1797)) and sum(map(len, shown)) == 1797
    assert [len(each) for each in shown] == [1445, 176, 176]
    for digits in parts.values():
        assert len(digits) == 10 and min(map(len, digits)) >= 17


def test_there_are_hundreds_of_sentences_of_four_kinds():
    sentences = {text(each) for each in scenes.draw(20_000, "test", "").sentences}
    assert 570 < len(sentences) <= 580
    assert {
        "the seven at the top left",
        "the eight in the middle",
        "the seven above the three",
        "the seven left of the three",
        "five sixes",
        "three sevens above the two",
    } <= sentences


def test_every_pixel_of_ink_is_in_a_box_of_the_sentence(drawn):
    for image, sentence in zip(drawn.images, drawn.sentences, strict=True):
        ink = image[:, :, 0] > 40
        for word in sentence:
            for top, left, bottom, right in np.rint(np.array(word.boxes) * 64).astype(int):
                assert ink[top:bottom, left:right].any()
        for word in sentence:  # A turned digit's corners may stand out by two pixels.
            for top, left, bottom, right in np.rint(np.array(word.boxes) * 64).astype(int):
                ink[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2] = False
        assert not ink.any()


def test_boxes_are_where_the_words_say(drawn):
    for sentence in drawn.sentences:
        boxes = [word.boxes for word in sentence if word.kind == "digit"]
        middles = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box, *_ in boxes]
        words = text(sentence).split()
        if "above" in words:
            assert max((top + bottom) / 2 for top, _, bottom, _ in boxes[0]) < middles[1][0] - 0.1
        elif "of" in words:
            assert middles[0][1] < middles[1][1] - 0.1
        elif "top" in words or "bottom" in words:
            assert (middles[0][0] < 1 / 3) == ("top" in words)
        if words[0] in scenes.NUMBERS.values():
            number = {name: count for count, name in scenes.NUMBERS.items()}[words[0]]
            assert len(sentence[0].boxes) == len(sentence[1].boxes) == number
            assert words[1].rstrip("s").removesuffix("e") in " ".join(scenes.DIGITS)


def test_where_digits_are_tells_of_which_kind_a_sentence_is(drawn):
    """Read off the boxes alone, and without a look at any digit."""
    for sentence in drawn.sentences:
        boxes = {box for word in sentence for box in word.boxes}
        cells = [(int(1.5 * (box[0] + box[2])), int(1.5 * (box[1] + box[3]))) for box in boxes]
        rows, columns = zip(*cells, strict=True)
        words = text(sentence).split()
        if len(cells) == 1:
            kind = words[0] == "the" and "of" not in words and "above" not in words
        elif len(cells) == 2 and len(set(rows)) == 1:
            kind = words[0] == "the" and "left" in words
        elif len(cells) == 2 and len(set(columns)) == 1:
            kind = words[0] == "the" and "above" in words
        elif len(cells) > 2 and rows.count(max(rows)) == 1:
            kind = words[0] != "the" and "above" in words
        else:
            kind = words[0] != "the" and "above" not in words
        assert kind, (cells, words)


def test_digits_do_not_overlap(drawn):
    for sentence in drawn.sentences:
        boxes = {box for word in sentence for box in word.boxes}
        covered = np.zeros((64, 64), int)
        for top, left, bottom, right in np.rint(np.array(sorted(boxes)) * 64).astype(int):
            covered[top:bottom, left:right] += 1
        assert covered.max() == 1


def test_an_upright_digit_keeps_its_look():
    images, parts = scenes.handwritten()
    number = parts["test"][3][0]
    shown = scenes._Shown(3, 4, number, 16, 24, 24, (1.0, 0.0, 0.0, 1.0))
    picture = scenes._render([[shown]])[0, :, :, 0] / 255.0
    small = picture[24:40, 24:40].reshape(8, 2, 8, 2).mean(axis=(1, 3))
    assert np.corrcoef(small.ravel(), images[number].ravel())[0, 1] > 0.97
