import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention.search import beam_search, draw, greedy_search, sample_search
from tests.keras_attention.search.worlds import World, assert_same, assert_true_to, chain

START, END, A, B = range(4)

WORDS = [
    # START END    A     B
    [0.00, 0.00, 0.70, 0.30],  # START -> j
    [0.00, 1.00, 0.00, 0.00],  # END -> j
    [0.00, 0.20, 0.10, 0.70],  # A -> j
    [0.00, 0.50, 0.30, 0.20],  # B -> j
]

LIMITS = {"start_id": START, "end_id": END}
TOKENS = {"start_id": 0, "end_id": 1, "pad_id": 0}
SENTENCES = [1, 2, 3, 5, 7]


class TestGreedy:
    def test_takes_the_best_word_each_time(self):
        found = greedy_search(chain(WORDS, 2), (), batch_size=2, max_length=5, pad_id=9, **LIMITS)
        assert np.asarray(found.ids).tolist() == [[[A, B, END, 9, 9]]] * 2
        assert np.asarray(found.lengths).tolist() == [[2]] * 2
        np.testing.assert_allclose(found.log_probs, np.log([[0.7 * 0.7 * 0.5]] * 2), rtol=1e-5)
        np.testing.assert_array_equal(found.scores, found.log_probs)
        assert np.asarray(found.weights[0, 0, :, 1]).tolist() == [1, 1, 1, 0, 0]

    def test_stops_at_max_length_without_end_token(self):
        found = greedy_search(chain(WORDS), (), batch_size=1, max_length=2, **LIMITS)
        assert np.asarray(found.ids).tolist() == [[[A, B]]]
        assert np.asarray(found.lengths).tolist() == [[2]]

    def test_min_length(self):
        found = greedy_search(chain(WORDS), (), batch_size=1, max_length=9, min_length=3, **LIMITS)
        assert np.asarray(found.ids[0, 0, :6]).tolist() == [A, B, A, B, END, 0]

    def test_a_dead_end_is_no_hypothesis(self):
        world = [[0, 0, 1.0], [0, 0, 0], [0, 0, 0]]
        found = greedy_search(chain(world, 2), (), batch_size=1, max_length=3, **LIMITS)
        assert np.asarray(found.ids).tolist() == [[[0, 0, 0]]]
        assert np.asarray(found.lengths).tolist() == [[0]]
        assert np.asarray(found.scores).tolist() == [[-np.inf]]
        assert not np.asarray(found.weights).any()

    @pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX traces a loop")
    def test_stops_as_soon_as_all_have_ended(self):
        steps = []

        def step(ids, state):
            steps.append(1)
            return chain(WORDS)(ids, state)

        greedy_search(step, (), batch_size=3, max_length=50, **LIMITS)
        assert len(steps) == 3

    def test_is_a_beam_of_one_where_ending_is_not_the_second_best(self):
        world = World.random(seed=2, vocabulary=5, num_values=7)
        world.log_probs[:, 1] = world.log_probs[:, [0, 2, 3, 4]].max(axis=1) + 0.1
        world.log_probs[::3, 1] = world.log_probs[::3].min(axis=1) - 0.1  # the best or the worst
        arguments = dict(batch_size=5, max_length=11, **TOKENS)
        state = world.state(SENTENCES)
        greedy = greedy_search(world.step, state, **arguments)
        assert_same(greedy, beam_search(world.step, state, beam_width=1, **arguments))

    def test_says_what_the_world_says(self):
        world = World.random(seed=4, vocabulary=5, num_values=7)
        state = world.state(SENTENCES)
        found = greedy_search(world.step, state, batch_size=5, max_length=11, **TOKENS)
        assert_true_to(world, SENTENCES, found)


def sample(probs=WORDS, num_hypotheses=4000, max_length=3, seed=5, **changes):
    limits = LIMITS | {"batch_size": 1, "max_length": max_length}
    return sample_search(
        chain(probs), (), num_hypotheses=num_hypotheses, seed=seed, **limits | changes
    )


def counts(found):
    outcomes, numbers = np.unique(np.asarray(found.ids[0]), axis=0, return_counts=True)
    return {tuple(outcome): int(number) for outcome, number in zip(outcomes, numbers, strict=True)}


class TestSampling:
    def test_frequencies_are_probabilities(self):
        expected = {}
        for ids in itertools.product(range(4), repeat=3):
            prob = np.prod([WORDS[i][j] for i, j in zip((START, *ids), ids, strict=False)])
            if prob > 0:
                ids = tuple(np.where(np.cumsum([0, *ids[:2]] == END), START, ids).tolist())
                ids = tuple(0 if END in ids[:place] else i for place, i in enumerate(ids))
                expected[ids] = expected.get(ids, 0.0) + 4000 * prob
        seen = counts(sample())
        assert set(seen) <= set(expected)
        chi_square = sum((seen.get(ids, 0) - mean) ** 2 / mean for ids, mean in expected.items())
        assert len(expected) == 14
        assert chi_square < 34.5  # exceeded once in a thousand, with 13 degrees of freedom

    def test_frequencies_in_a_vocabulary_of_many_blocks(self):
        probs = np.random.default_rng(3).dirichlet(np.full(128, 0.3), size=1)
        probs[0, 70:80] = 0
        found = sample(np.repeat(probs, 128, axis=0), max_length=1, num_hypotheses=20000)
        expected = 20000 * probs[0] / probs.sum()
        seen = np.bincount(found.ids[0, :, 0], minlength=128)
        assert not seen[70:80].any()
        often = expected > 5
        chi_square = ((seen - expected)[often] ** 2 / expected[often]).sum()
        assert chi_square < often.sum() + 4 * np.sqrt(2 * often.sum())

    def test_the_same_seed_gives_the_same_sample(self):
        assert_same(sample(seed=3), sample(seed=3))
        assert counts(sample(seed=3)) != counts(sample(seed=4))

    def test_a_seed_generator_gives_another_sample_at_each_call(self):
        generator = keras.random.SeedGenerator(7)
        first, second = sample(seed=generator), sample(seed=generator)
        assert counts(first) != counts(second)
        assert_same(first, sample(seed=keras.random.SeedGenerator(7)))

    def test_steps_and_rows_do_not_share_their_chance(self):
        coin = np.full((4, 4), [0.0, 0.0, 0.5, 0.5])
        ids = np.asarray(sample(coin, max_length=20, num_hypotheses=500).ids[0]) == A
        correlations = np.corrcoef(ids.T)[np.triu_indices(20, 1)]
        assert np.abs(correlations).max() < 0.2

    def test_temperature(self):
        cold = counts(sample(temperature=1e-3, num_hypotheses=50))
        assert cold == {(A, B, END): 50}
        warm = sample([[0.0, 0.0, 0.8, 0.2]] * 4, max_length=1, temperature=2.0)
        share = np.mean(np.asarray(warm.ids) == A)
        assert abs(share - 2 / 3) < 0.03  # 0.8 ** 0.5 / (0.8 ** 0.5 + 0.2 ** 0.5)
        found = np.unique(np.exp(np.asarray(warm.log_probs)))
        np.testing.assert_allclose(found, [0.2, 0.8], rtol=1e-5)

    def test_top_k(self):
        found = sample([[0.1, 0.0, 0.6, 0.3]] * 4, max_length=1, top_k=2)
        ids = np.asarray(found.ids).ravel()
        assert set(ids) == {A, B}
        assert abs(np.mean(ids == A) - 2 / 3) < 0.03

    @pytest.mark.parametrize(
        ("top_p", "expected"),
        [(0.05, {A}), (0.59, {A}), (0.61, {A, B}), (0.89, {A, B}), (0.95, {0, A, B})],
    )
    def test_top_p(self, top_p, expected):
        found = sample([[0.1, 0.0, 0.6, 0.3]] * 4, max_length=1, top_p=top_p, num_hypotheses=500)
        assert set(np.asarray(found.ids).ravel()) == expected

    def test_says_what_the_world_says(self):
        world = World.random(seed=4, vocabulary=5, num_values=7)
        arguments = dict(batch_size=5, max_length=7, num_hypotheses=3, seed=1, **TOKENS)
        assert_true_to(
            world, SENTENCES, sample_search(world.step, world.state(SENTENCES), **arguments)
        )

    def test_a_dead_end_is_no_hypothesis(self):
        found = sample(np.zeros((4, 4)), num_hypotheses=2)
        assert np.asarray(found.scores).tolist() == [[-np.inf] * 2]
        assert np.asarray(found.ids).tolist() == [[[0, 0, 0]] * 2]


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0 - 2.0**-24])
def test_the_wheel_never_stops_where_it_cannot(chance):
    rng = np.random.default_rng(0)
    probs = rng.random((997, 128)).astype("float32") ** 9
    probs *= rng.random((997, 128)) < 0.05
    probs[:, 7], probs[:, -1] = 1e-30, 0.0  # where a wheel has no other field
    place = np.asarray(draw._spin_blocks(ops.convert_to_tensor(probs), ops.full((997,), chance)))
    assert (probs[np.arange(997), place] > 0).all()
