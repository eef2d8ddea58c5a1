"""Strings in, translations and alignments out: one graph for evaluation and for serving."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from applications.training import text
from applications.training.lengths import ladder
from applications.training.task import Exported
from applications.translation.config import TranslationExport
from applications.translation.data import Facts
from applications.translation.model import Translator
from export import Signature


class Translation(NamedTuple):
    """The best translation of one sentence, and what it was read from."""

    translation: str
    score: float
    source_tokens: list[str]
    target_tokens: list[str]
    weights: np.ndarray  # (target tokens, source tokens); no columns without attention


class Translate(tf.Module):
    """The whole road from sentences to translations, as one function of strings.

    A sentence longer than `options.max_length` tokens is read up to there; an empty one has the
    empty translation. Lengths are explicit, since a batching server pads outputs as it likes.

    Args:
        model: A trained translator.
        facts: Its tokenizers.
        options: What the search is to do.

    Call arguments:
        sentences: Strings (B,), of any bytes.

    Returns:
        A dict, with S the longest source, N translations each, and T the longest of these:
        `translations` (B, N), `scores` (B, N), `source_tokens` (B, S), `source_lengths` (B,),
        `target_tokens` (B, N, T), `target_lengths` (B, N); and, with attention, `weights`
        (B, N, T, S). Translations stand best first; `scores` are the penalised log-probabilities
        they are ranked by. The last source token is the end of the sentence.
    """

    def __init__(self, model: Translator, facts: Facts, options: TranslationExport):
        super().__init__()
        self.model, self.facts, self.options = model, facts, options
        signature = [tf.TensorSpec((None,), tf.string)]
        self.run = tf.function(self.__call__, input_signature=signature, autograph=False)

    def __call__(self, sentences: tf.Tensor) -> dict[str, tf.Tensor]:
        options, target = self.options, self.facts.target
        source, source_lengths = self._encode(sentences)
        found = self.model.translate(
            source,
            source_lengths,
            beam_width=options.beam_width,
            num_hypotheses=options.num_translations,
            max_length=options.max_length,
            length_penalty=options.length_penalty,
            coverage_penalty=options.coverage_penalty,
            early_stopping=options.early_stopping,
        )
        empty = source_lengths == 1
        lengths = tf.where(empty[:, None], 0, found.lengths)
        longest = tf.reduce_max(lengths)
        real = tf.sequence_mask(lengths, longest)  # (B, N, T)
        ids = tf.where(real, found.ids[:, :, :longest], text.PAD)
        rows = tf.reshape(ids, (-1, longest))
        outputs = {
            "translations": tf.reshape(target.decode(rows), tf.shape(lengths)),
            "scores": found.scores,
            "source_tokens": self.facts.source.tokens(source),
            "source_lengths": source_lengths,
            "target_tokens": target.tokens(ids),
            "target_lengths": lengths,
        }
        if self.model.has_attention:
            weights = found.weights[:, :, :longest]
            outputs["weights"] = tf.where(real[..., None], weights, 0.0)
        return outputs

    def all(self, sentences: Sequence[str], batch_size: int = 100) -> list[Translation]:
        """Translates any number of sentences, those of similar length together."""
        order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
        translations: dict[int, Translation] = {}
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            outputs = self.run(tf.constant([sentences[index] for index in indices]))
            arrays = {name: value.numpy() for name, value in outputs.items()}
            translations.update(zip(indices, _unpack(arrays), strict=True))
        return [translations[index] for index in range(len(sentences))]

    def _encode(self, sentences: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        ids = self.facts.source.encode(sentences)[:, : self.options.max_length]
        end = tf.fill((ids.nrows(), 1), text.END)
        ids = tf.concat([ids, end], axis=1)
        return ids.to_tensor(text.PAD), tf.cast(ids.row_lengths(), tf.int32)


def _unpack(arrays: dict[str, np.ndarray]) -> Iterator[Translation]:
    for row, source_length in enumerate(arrays["source_lengths"]):
        target_length = arrays["target_lengths"][row, 0]
        weights = np.zeros((target_length, 0), np.float32)
        if "weights" in arrays:
            weights = arrays["weights"][row, 0, :target_length, :source_length]
        yield Translation(
            arrays["translations"][row, 0].decode("utf-8"),
            float(arrays["scores"][row, 0]),
            [token.decode("utf-8") for token in arrays["source_tokens"][row, :source_length]],
            [token.decode("utf-8") for token in arrays["target_tokens"][row, 0, :target_length]],
            weights,
        )


def signatures(model: Translator, facts: Facts, options: TranslationExport) -> Exported:
    """What a server offers: sentences in, everything that `Translate` returns out."""
    translate = Translate(model, facts, options)
    signature = Signature(
        lambda sentences: translate(sentences),
        inputs={"sentences": tf.TensorSpec((None,), tf.string)},
        examples=[{"sentences": sentences} for sentences in _examples(facts, options)],
    )
    return Exported({"serving_default": signature}, resources=[translate])


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
