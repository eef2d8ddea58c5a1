"""Sentences as vectors, and the time at which they were said.

Shapes: B stories, N sentences of J words, ids of words, 0 for none.
"""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import ops

from keras_attention import replicas

register = keras.saving.register_keras_serializable(package="keras_attention")


@register
class SentenceEmbedding(keras.layers.Layer):
    """A sentence as the sum of its words' embeddings, which may be weighed by their positions.

    `m = sum_j l_j * E(word_j)`, with `l_j = 1` for a bag of words, or in a position encoding, for
    positions j = 1 … J and features k = 1 … units,

        l_jk = 1 + 4 (j - (J + 1) / 2) (k - (units + 1) / 2) / (J units)

    which is that of the paper's authors' program: twice the paper's `l`, with both indices centred.
    Word 0 is no word: its embedding is 0, and a sentence of none is masked.

    Args:
        vocabulary_size: Number of words, 0 included.
        units: Width of the embeddings.
        position_encoding: Whether the order of the words counts.
        embeddings_initializer: Initializer of `E`. The paper draws from a normal distribution with
            a standard deviation of 0.1.

    Call arguments:
        ids: Integer tensor of shape (..., J); J must be known where positions are encoded, and a
            `ValueError` says so if it is not.

    Returns:
        Vectors of shape (..., units), with a mask of shape (...).

    Example:

    >>> SentenceEmbedding(vocabulary_size=11, units=5)(keras.ops.array([[[3, 1, 0]]])).shape
    TensorShape([1, 1, 5])

    Reference: Sukhbaatar et al., 2015, End-To-End Memory Networks,
    https://arxiv.org/abs/1503.08895 (section 4.1, "Sentence Representation").
    """

    def __init__(
        self,
        vocabulary_size,
        units,
        position_encoding=True,
        embeddings_initializer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.units = units
        self.position_encoding = position_encoding
        self.embeddings_initializer = keras.initializers.get(
            keras.initializers.RandomNormal(stddev=0.1)
            if embeddings_initializer is None
            else embeddings_initializer
        )
        self.supports_masking = True

    def build(self, ids_shape):
        self._check_shape(ids_shape)
        self.embeddings = self.add_weight(
            shape=(self.vocabulary_size, self.units),
            initializer=self.embeddings_initializer,
            name="embeddings",
        )

    def call(self, ids):
        ids = ops.cast(ids, "int32")
        table = ops.cast(self.embeddings, self.compute_dtype)
        words = ops.take(table, ids, axis=0)  # (..., J, units)
        is_word = ops.cast(ids != 0, words.dtype)
        if not self.position_encoding:
            return ops.sum(words * is_word[..., None], axis=-2)
        self._check_shape(ids.shape)
        weights = ops.cast(position_encoding(ids.shape[-1], self.units), words.dtype)
        return ops.sum(words * is_word[..., None] * weights, axis=-2)

    def _check_shape(self, ids_shape):
        if self.position_encoding and ids_shape[-1] is None:
            raise ValueError(
                "`ids` must have a known number of words where positions are encoded: pad them, or "
                f"give `position_encoding=False`. Received: ids.shape={tuple(ids_shape)}."
            )

    def compute_mask(self, ids, mask=None):
        return ops.any(ops.not_equal(ids, 0), axis=-1)

    def compute_output_shape(self, ids_shape):
        return (*ids_shape[:-1], self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "units": self.units,
            "position_encoding": self.position_encoding,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
        }


def position_encoding(num_words, units):
    """The weights `l` of `SentenceEmbedding`, an array of shape (num_words, units)."""
    words = np.arange(1, num_words + 1) - (num_words + 1) / 2
    features = np.arange(1, units + 1) - (units + 1) / 2
    return (1.0 + 4.0 * np.outer(words, features) / (num_words * units)).astype("float32")


@register
class TimeWords(keras.layers.Layer):
    """Says of each sentence how long ago it was, by one more word at its end.

    The last sentence of a story gets the word `first_id`, the one before `first_id + 1`, and so on
    up to `first_id + num_times - 1`, which all older ones share. In training, random blanks are
    thought between the sentences, which makes the times differ from one epoch to the next and keeps
    a model from learning them by heart: of n sentences, uniformly, 0 to ceil(noise n) blanks.

    Args:
        first_id: The word for the most recent sentence.
        num_times: How many times there are words for.
        noise: Most blanks, as a share of the sentences. The paper's is 0.1.
        seed: Seed of the blanks.

    Call arguments:
        ids: Integer tensor of shape (B, N, J), oldest sentence first. Sentences of no words count
            for nothing, and get no time.
        training: Whether there are blanks.

    Returns:
        Ids of shape (B, N, J + 1).

    Example:

    >>> TimeWords(first_id=100, num_times=5)(keras.ops.array([[[3], [4], [0]]])).numpy().tolist()
    [[[3, 101], [4, 100], [0, 0]]]

    Reference: Sukhbaatar et al., 2015, https://arxiv.org/abs/1503.08895 (section 4.1, "Temporal
    Encoding" and "Learning time invariance by injecting random noise"), in the form that its
    authors' program has: times as words.
    """

    def __init__(self, first_id, num_times, noise=0.1, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= noise <= 1.0:
            raise ValueError(f"`noise` must be in [0, 1]. Received: noise={noise!r}.")
        if not isinstance(num_times, int) or num_times < 1:
            raise ValueError(
                f"`num_times` must be a positive integer. Received: num_times={num_times!r}."
            )
        self.first_id = first_id
        self.num_times = num_times
        self.noise = noise
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, ids, training=False):
        if len(ids.shape) != 3:
            raise ValueError(
                "`ids` must have shape (batch, sentences, words). "
                f"Received: ids.shape={tuple(ids.shape)}."
            )
        ids = ops.cast(ids, "int32")
        is_said = ops.cast(ops.any(ids != 0, axis=-1), "int32")  # (B, N)
        count = ops.sum(is_said, axis=1, keepdims=True)
        since = count - ops.cumsum(is_said, axis=1)  # sentences said after each
        if training and self.noise > 0.0:
            times = self._with_blanks(ops.squeeze(count, 1), ops.shape(ids)[1])
            since = ops.take_along_axis(times, since, axis=1)
        word = self.first_id + ops.minimum(since, self.num_times - 1)
        word = ops.where(is_said == 1, word, 0)
        return ops.concatenate([ids, word[:, :, None]], axis=-1)

    def _with_blanks(self, count, most):
        """The times (B, M) of the sentences, most recent first, of `count` (B,) and some blanks.

        There are at most `most` sentences.

        A uniform draw of `count` of `count + blanks` places: those with the lowest of as many
        random numbers.
        """
        num_places = most + self._most_blanks(most)
        chance = replicas.rows(
            lambda shape: keras.random.uniform(shape, dtype="float32", seed=self.seed_generator),
            (ops.shape(count)[0], num_places + 1),
        )
        possible = ops.cast(self._most_blanks(count) + 1, "float32")
        blanks = ops.cast(ops.floor(chance[:, 0] * possible), "int32")
        place = ops.arange(num_places, dtype="int32")[None]
        chance = ops.where(place < (count + blanks)[:, None], chance[:, 1:], 2.0)
        rank = ops.argsort(ops.argsort(chance, axis=1), axis=1)
        return ops.sort(ops.where(rank < count[:, None], place, num_places), axis=1)

    def _most_blanks(self, count):
        """Of so many sentences; a number that is known, or a tensor."""
        if isinstance(count, int):
            return math.ceil(self.noise * count)
        return ops.cast(ops.ceil(self.noise * ops.cast(count, "float32")), "int32")

    def get_config(self):
        return {
            **super().get_config(),
            "first_id": self.first_id,
            "num_times": self.num_times,
            "noise": self.noise,
            "seed": self.seed,
        }
