"""What a server offers of a translator: signatures of strings, of tokens, and of its parts."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

from applications.training import text
from applications.training.lengths import ladder
from applications.training.task import Exported
from applications.translation.config import TranslationExport
from applications.translation.data import Facts
from applications.translation.model import Translator
from applications.translation.translate import Translate
from export import Signature

_STRINGS = tf.TensorSpec((None,), tf.string)


def signatures(model: Translator, facts: Facts, options: TranslationExport) -> Exported:
    """Sentences to translations, tokens to tokens, annotations, and scores of translations."""
    translate = Translate(model, facts, options)
    parts = _Parts(translate)
    examples = list(_examples(facts, options))
    mixed = examples[-1]
    ids = {
        "ids": tf.TensorSpec((None, None), tf.int32),
        "lengths": tf.TensorSpec((None,), tf.int32),
    }
    first = len(text.SPECIAL)
    return Exported(
        {
            "serving_default": Signature(
                lambda sentences: translate(sentences),
                {"sentences": _STRINGS},
                [{"sentences": sentences} for sentences in examples],
            ),
            "tokens": Signature(
                parts.tokens, ids, [{"ids": [[first, 0], [first, first]], "lengths": [1, 2]}]
            ),
            "encode": Signature(
                parts.encode,
                {"sentences": _STRINGS},
                [{"sentences": mixed}],
            ),
            "score": Signature(
                parts.score,
                {"sentences": _STRINGS, "translations": _STRINGS},
                [{"sentences": mixed, "translations": mixed}],
            ),
        },
        resources=[translate],
    )


class _Parts:
    """The functions behind the signatures other than the default."""

    def __init__(self, translate: Translate) -> None:
        self._translate = translate
        self._model, self._facts = translate.model, translate.facts

    def tokens(self, ids: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        """Source tokens (B, S) without the end of the sentence, of which `lengths` (B,) count."""
        size = self._model.config["source_size"]
        longest = tf.shape(ids)[1]
        real = tf.sequence_mask(lengths, longest)
        ids = tf.where(real, ids, text.PAD)
        checks = (
            tf.debugging.assert_non_negative(lengths, "Expected lengths of at least 0."),
            tf.debugging.assert_less_equal(lengths, longest, "Expected lengths within ids."),
            tf.debugging.assert_non_negative(ids, "Expected ids of at least 0."),
            tf.debugging.assert_less(ids, size, f"Expected ids below {size}."),
        )
        with tf.control_dependencies(checks):  # before what would fail in words of its own
            ids = tf.identity(ids)
            lengths = tf.minimum(lengths, self._translate.options.max_length)
        at = tf.range(longest + 1)
        padded = tf.pad(ids, [[0, 0], [0, 1]])
        source = tf.where(at < lengths[:, None], padded, text.PAD)
        source = tf.where(at == lengths[:, None], text.END, source)
        return self._translate.search(source[:, : tf.reduce_max(lengths) + 1], lengths + 1)

    def encode(self, sentences: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the encoder makes of each token."""
        source, lengths = self._translate.read(sentences)
        annotations, _, _ = self._model.annotate(source, lengths)
        real = tf.sequence_mask(lengths, tf.shape(source)[1])
        return {
            "annotations": tf.where(real[..., None], tf.cast(annotations, tf.float32), 0.0),
            "source_tokens": self._facts.source.tokens(source),
            "source_lengths": lengths,
        }

    def score(self, sentences: tf.Tensor, translations: tf.Tensor) -> dict[str, tf.Tensor]:
        """How probable a translation is, and each of its tokens, the end included."""
        source, lengths = self._translate.read(sentences)
        ids = self._facts.target.encode(translations)[:, : self._translate.options.max_length]
        around = tf.fill((ids.nrows(), 1), 1)
        before = tf.concat([around * text.START, ids], axis=1).to_tensor(text.PAD)
        ids = tf.concat([ids, around * text.END], axis=1)
        target_lengths = tf.cast(ids.row_lengths(), tf.int32)
        target = ids.to_tensor(text.PAD)
        every = self._model.log_probabilities(source, lengths, before)
        found = tf.gather(every, target, batch_dims=2)
        real = tf.sequence_mask(target_lengths, tf.shape(target)[1])
        found = tf.where(real, found, 0.0)
        return {
            "scores": tf.reduce_sum(found, axis=1),
            "log_probabilities": found,
            "target_tokens": self._facts.target.tokens(target),
            "target_lengths": target_lengths,
        }


def _examples(facts: Facts, options: TranslationExport) -> Iterator[list[str]]:
    """Requests to warm a server up with: a sentence of each length, empty ones, and a mixture."""
    tokenizer = facts.source
    token = _steady(tokenizer)
    for length in ladder(options.max_length):
        yield _decoded(tokenizer, [token] * length)
    yield ["", ""]
    first = len(text.SPECIAL)
    rows = ([first + i % (tokenizer.size - first) for i in range(n)] for n in (5, 10, 20))
    yield [*(sentence for row in rows for sentence in _decoded(tokenizer, row)), ""]


def _steady(tokenizer: text.Tokenizer) -> int:
    """The first token that, written several times, is read as so many; else the first one."""
    ids = tf.range(len(text.SPECIAL), tokenizer.size)
    found = tokenizer.encode(tokenizer.decode(tf.tile(ids[:, None], (1, 8)))).row_lengths() == 8
    return int(ids[tf.argmax(found)])


def _decoded(tokenizer: text.Tokenizer, row: list[int]) -> list[str]:
    return [tokenizer.decode(tf.constant([row])).numpy()[0].decode("utf-8")]
