"""What a server offers of a translator: signatures of strings, of tokens, and of its parts."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

from applications.training import text
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
    examples = list(_examples(facts.source))
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
                [{"sentences": sentences} for sentences in examples],
            ),
            "score": Signature(
                parts.score,
                {"sentences": _STRINGS, "translations": _STRINGS},
                [{"sentences": each, "translations": each} for each in examples],
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
        tf.debugging.assert_non_negative(lengths, "Expected lengths of at least 0.")
        tf.debugging.assert_less_equal(lengths, longest, "Expected lengths within ids.")
        tf.debugging.assert_non_negative(ids, "Expected ids of at least 0.")
        tf.debugging.assert_less(ids, size, f"Expected ids below {size}.")
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


def _examples(tokenizer: text.Tokenizer) -> Iterator[list[str]]:
    """Requests to warm a server up with: one sentence, an empty one, and a batch of all lengths."""
    first = len(text.SPECIAL)
    rows = [[first + i % (tokenizer.size - first) for i in range(n)] for n in (5, 10, 20, 40)]
    sentences = [tokenizer.decode(tf.constant([row])).numpy()[0].decode("utf-8") for row in rows]
    yield sentences[:1]
    yield [""]
    yield sentences * 8
