"""Step functions to search with, and a search by brute force to compare with."""

import itertools
from typing import NamedTuple

import numpy as np
from keras import ops

from keras_attention.search import Hypotheses


def chain(probs, num_values=0):
    """A step whose next token depends on the last one only: probs[i][j] = p(j after i)."""
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.asarray(probs, "float32"))

    def step(ids, state):
        weights = ops.ones((ops.shape(ids)[0], num_values))
        return ops.take(ops.convert_to_tensor(log_probs), ids, axis=0), state, weights

    return step


class World(NamedTuple):
    """A world in which the next token and the weights depend on the sentence and all its tokens.

    The state is a number that encodes the prefix: code(prefix + [i]) = code(prefix) * V + i.
    """

    log_probs: np.ndarray  # (codes, V)
    weights: np.ndarray  # (codes, Tv)

    @classmethod
    def random(cls, seed, vocabulary, num_values, codes=20011):
        rng = np.random.default_rng(seed)
        probs = rng.dirichlet(np.full(vocabulary, 0.7), size=codes)
        weights = rng.dirichlet(np.full(num_values, 1.0), size=codes)
        return cls(np.log(probs + 1e-12).astype("float32"), weights.astype("float32"))

    def step(self, ids, state):
        code = (state["code"] * self.log_probs.shape[1] + ids[:, None]) % len(self.log_probs)
        log_probs = ops.take(ops.convert_to_tensor(self.log_probs), code[:, 0], axis=0)
        weights = ops.take(ops.convert_to_tensor(self.weights), code[:, 0], axis=0)
        return log_probs, {"code": code}, weights

    @staticmethod
    def state(sentences):
        return {"code": ops.convert_to_tensor(np.asarray(sentences, "int32")[:, None])}

    def rate(self, sentence, start_id, ids):
        """The log-probability of some tokens and the weights (len(ids), Tv) that gave them."""
        total, weights, code = 0.0, [], sentence
        for previous, token in zip([start_id, *ids], ids, strict=False):
            code = (code * self.log_probs.shape[1] + previous) % len(self.log_probs)
            total += float(self.log_probs[code, token])
            weights.append(self.weights[code])
        return total, np.asarray(weights)


class Rated(NamedTuple):
    score: float
    log_prob: float
    ids: tuple
    weights: np.ndarray


def brute_force(
    world, sentence, *, start_id, end_id, max_length, alpha=0.0, beta=0.0, mask=None, min_length=0
):
    """All hypotheses there are, those that end first, the best of each first."""
    vocabulary = range(world.log_probs.shape[1])
    ended, alive = [], []
    for length in range(max_length + 1):
        for body in itertools.product([i for i in vocabulary if i != end_id], repeat=length):
            if min_length <= length < max_length:
                ended.append((*body, end_id))
            elif length == max_length:
                alive.append(body)

    def rated(ids):
        log_prob, weights = world.rate(sentence, start_id, ids)
        score = log_prob / ((5 + len(ids)) / 6) ** alpha
        if beta:
            score += beta * np.log(np.minimum(weights.sum(axis=0), 1.0))[mask].sum()
        return Rated(score, log_prob, ids, weights)

    return [
        each
        for group in (ended, alive)
        for each in sorted(map(rated, group), key=lambda rated: -rated.score)
    ]


def assert_found(found: Hypotheses, sentence, expected, end_id, pad_id):
    """That the hypotheses of a sentence are the first of those expected, in all they say."""
    max_length = found.ids.shape[2]
    for place in range(found.ids.shape[1]):
        best = expected[place]
        padded = [*best.ids, *[pad_id] * (max_length - len(best.ids))]
        np.testing.assert_array_equal(found.ids[sentence, place], padded)
        assert int(found.lengths[sentence, place]) == len(best.ids) - (best.ids[-1] == end_id)
        np.testing.assert_allclose(found.scores[sentence, place], best.score, rtol=1e-5)
        np.testing.assert_allclose(found.log_probs[sentence, place], best.log_prob, rtol=1e-5)
        weights = np.zeros(found.weights.shape[2:])
        weights[: len(best.ids)] = best.weights
        np.testing.assert_allclose(found.weights[sentence, place], weights, rtol=1e-6)


def assert_same(found: Hypotheses, expected: Hypotheses):
    for name, one, other in zip(Hypotheses._fields, found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, err_msg=name)


def assert_true_to(world, sentences, found: Hypotheses):
    """That log-probabilities and weights are those of the tokens found."""
    for row, sentence in enumerate(sentences):
        for place in range(found.ids.shape[1]):
            steps = min(int(found.lengths[row, place]) + 1, found.ids.shape[2])
            log_prob, weights = world.rate(sentence, 0, np.asarray(found.ids[row, place, :steps]))
            np.testing.assert_allclose(found.log_probs[row, place], log_prob, rtol=1e-5)
            np.testing.assert_allclose(found.weights[row, place, :steps], weights, rtol=1e-6)
            assert not np.asarray(found.weights[row, place, steps:]).any()
