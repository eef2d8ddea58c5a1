import keras
import numpy as np
import pytest
from keras import ops

from keras_attention.search import beam, beam_search, greedy_search
from tests.keras_attention.search.worlds import (
    World,
    assert_found,
    assert_same,
    assert_true_to,
    brute_force,
    chain,
)

START, END, A, B = range(4)

# From a word to the next. Greed takes A (0.6), after which nothing is likely.
WORDS = [
    # START END    A     B
    [0.00, 0.00, 0.60, 0.40],  # START -> j
    [0.00, 1.00, 0.00, 0.00],  # END -> j
    [0.00, 0.35, 0.40, 0.25],  # A -> j
    [0.00, 0.90, 0.05, 0.05],  # B -> j
]

LIMITS = {"start_id": START, "end_id": END}


def probabilities(found, sentence=0):
    return np.exp(np.asarray(found.log_probs[sentence]))


class TestToyWorld:
    def test_finds_what_greed_misses(self):
        arguments = dict(batch_size=1, max_length=5, **LIMITS)
        greedy = greedy_search(chain(WORDS), (), **arguments)
        found = beam_search(chain(WORDS), (), beam_width=2, num_hypotheses=2, **arguments)
        # 0.6 * 0.4 ** 4, without end
        assert np.asarray(greedy.ids[0, 0]).tolist() == [A, A, A, A, A]
        assert np.asarray(found.ids[0, 0]).tolist() == [B, END, 0, 0, 0]  # 0.4 * 0.9
        assert np.asarray(found.ids[0, 1]).tolist() == [A, END, 0, 0, 0]  # 0.6 * 0.35
        np.testing.assert_allclose(probabilities(found), [0.36, 0.21], rtol=1e-5)
        assert np.asarray(found.lengths).tolist() == [[1, 1]]

    def test_length_penalty_prefers_the_longer(self):
        world = [
            # START END    A     B
            [0.00, 0.50, 0.50, 0.00],  # START -> j
            [0.00, 1.00, 0.00, 0.00],  # END -> j
            [0.00, 0.00, 0.00, 1.00],  # A -> j
            [0.00, 0.90, 0.05, 0.05],  # B -> j
        ]
        arguments = dict(batch_size=1, beam_width=3, max_length=3, **LIMITS)
        short = beam_search(chain(world), (), length_penalty=0.0, **arguments)
        long = beam_search(chain(world), (), length_penalty=1.0, **arguments)
        assert np.asarray(short.ids[0, 0]).tolist() == [END, 0, 0]  # log 0.5 = -0.69
        assert np.asarray(long.ids[0, 0]).tolist() == [A, B, END]  # log 0.45 / (8 / 6) = -0.60
        np.testing.assert_allclose(long.scores[0, 0], np.log(0.45) * 6 / 8, rtol=1e-5)
        np.testing.assert_allclose(long.log_probs[0, 0], np.log(0.45), rtol=1e-5)

    def test_coverage_penalty_prefers_what_attends_to_all(self):
        word = np.log(np.array([[0, 0, 0.6, 0.4]] * 4, "float32") + 1e-30)
        last = np.log(np.array([[0, 1.0, 0, 0]] * 4, "float32") + 1e-30)
        looks = np.array([[0, 0], [0.5, 0], [0.5, 0], [0, 0.5]], "float32")  # A left, B right

        def step(ids, state):
            table = ops.where(ops.expand_dims(state, 1) > 0, last[:1], word[:1])
            return table, state + 1, ops.take(looks, ids, axis=0)

        arguments = dict(
            batch_size=1, beam_width=2, max_length=3, value_mask=np.array([[True, True]]), **LIMITS
        )
        state = ops.zeros((1,))
        plain = beam_search(step, state, **arguments)
        covering = beam_search(step, state, coverage_penalty=0.1, **arguments)
        assert np.asarray(plain.ids[0, 0]).tolist() == [A, END, 0]
        # Neither sees both: the floor of a value never seen is the same for both.
        assert np.asarray(covering.ids[0, 0]).tolist() == [A, END, 0]
        assert np.isfinite(np.asarray(covering.scores))[0, 0]
        arguments["value_mask"] = np.array([[False, True]])
        right = beam_search(step, state, coverage_penalty=0.1, **arguments)
        assert np.asarray(right.ids[0, 0]).tolist() == [B, END, 0]

    def test_what_has_not_ended_comes_last_and_has_no_end_token(self):
        found = beam_search(
            chain(WORDS),
            (),
            batch_size=1,
            beam_width=3,
            num_hypotheses=3,
            max_length=2,
            pad_id=7,
            **LIMITS,
        )
        assert np.asarray(found.ids[0]).tolist() == [[B, END], [A, END], [A, A]]
        assert np.asarray(found.lengths[0]).tolist() == [1, 1, 2]
        np.testing.assert_allclose(probabilities(found), [0.36, 0.21, 0.24], rtol=1e-5)

    def test_what_has_ended_is_frozen(self):
        world = [[0.0, 0.9, 0.1], [0.0, 0.5, 0.5], [0.0, 0.1, 0.9]]  # END -> END costs a half
        found = beam_search(
            chain(world), (), batch_size=1, beam_width=2, max_length=11, start_id=0, end_id=1
        )
        assert np.asarray(found.ids[0, 0]).tolist() == [1] + [0] * 10
        np.testing.assert_allclose(probabilities(found), [0.9], rtol=1e-6)

    def test_min_length_keeps_the_short_out(self):
        arguments = dict(batch_size=1, beam_width=4, max_length=5, **LIMITS)
        found = beam_search(chain(WORDS), (), min_length=2, **arguments)
        assert np.asarray(found.ids[0, 0]).tolist() == [A, B, END, 0, 0]  # 0.6 * 0.25 * 0.9
        np.testing.assert_allclose(probabilities(found), [0.135], rtol=1e-5)

    def test_fewer_hypotheses_than_places(self):
        world = [[0, 0, 1.0], [0, 1.0, 0], [0, 1.0, 0]]
        found = beam_search(
            chain(world, num_values=5),
            (),
            batch_size=2,
            beam_width=3,
            num_hypotheses=3,
            max_length=4,
            start_id=0,
            end_id=1,
            pad_id=9,
        )
        assert np.asarray(found.ids[1]).tolist() == [[2, 1, 9, 9], [9] * 4, [9] * 4]
        assert np.asarray(found.lengths[1]).tolist() == [1, 0, 0]
        assert np.asarray(found.scores[1]).tolist() == [0.0, -np.inf, -np.inf]
        assert np.asarray(found.log_probs[1]).tolist() == [0.0, -np.inf, -np.inf]
        assert np.asarray(found.weights[1, :, :, 0]).tolist() == [[1, 1, 0, 0], [0] * 4, [0] * 4]

    def test_a_world_where_all_is_banned_has_no_hypotheses(self):
        found = beam_search(
            chain(np.zeros((3, 3))),
            (),
            batch_size=1,
            beam_width=2,
            max_length=4,
            start_id=0,
            end_id=1,
            length_penalty=1.0,
        )
        assert np.asarray(found.ids).tolist() == [[[0, 0, 0, 0]]]
        assert np.asarray(found.scores).tolist() == [[-np.inf]]

    def test_one_token_in_the_vocabulary(self):
        found = beam_search(
            chain([[1.0]]), (), batch_size=2, beam_width=3, max_length=4, start_id=0, end_id=0
        )
        assert np.asarray(found.lengths).tolist() == [[0], [0]]
        assert np.asarray(found.scores).tolist() == [[0.0], [0.0]]


SENTENCES = [1, 2, 3, 5, 7]
MASK = np.arange(3) < np.array([3, 2, 1, 3, 2])[:, None]
TOKENS = {"start_id": 0, "end_id": 1, "pad_id": 0}


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 2.5])
@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("num_hypotheses", [1, 16])
def test_a_wide_beam_equals_brute_force(alpha, beta, num_hypotheses):
    world = World.random(seed=7, vocabulary=3, num_values=3)
    found = beam_search(
        world.step,
        world.state(SENTENCES),
        batch_size=5,
        beam_width=16,  # 2 ** 4 hypotheses go on at most
        num_hypotheses=num_hypotheses,
        max_length=4,
        length_penalty=alpha,
        coverage_penalty=beta,
        value_mask=MASK,
        **TOKENS,
    )
    for row, sentence in enumerate(SENTENCES):
        expected = brute_force(
            world,
            sentence,
            start_id=0,
            end_id=1,
            max_length=4,
            alpha=alpha,
            beta=beta,
            mask=MASK[row],
        )
        assert_found(found, row, expected, end_id=1, pad_id=0)


def test_a_wide_beam_with_a_min_length_equals_brute_force():
    world = World.random(seed=11, vocabulary=3, num_values=2)
    found = beam_search(
        world.step,
        world.state(SENTENCES),
        batch_size=5,
        beam_width=16,
        num_hypotheses=3,
        max_length=4,
        min_length=2,
        **TOKENS,
    )
    for row, sentence in enumerate(SENTENCES):
        expected = brute_force(world, sentence, start_id=0, end_id=1, max_length=4, min_length=2)
        assert_found(found, row, expected, end_id=1, pad_id=0)


def narrow(world, sentences, **changes):
    arguments = dict(beam_width=3, num_hypotheses=2, max_length=7, **TOKENS) | changes
    state = world.state(sentences)
    return beam_search(world.step, state, batch_size=len(sentences), **arguments)


def test_what_a_narrow_beam_finds_is_what_it_says():
    world = World.random(seed=3, vocabulary=5, num_values=7)
    assert_true_to(world, SENTENCES, narrow(world, SENTENCES))


def test_a_sentence_does_not_know_the_others():
    world = World.random(seed=3, vocabulary=5, num_values=7)
    together = narrow(world, SENTENCES)
    for row, sentence in enumerate(SENTENCES):
        alone = narrow(world, [sentence])
        assert_same(alone, type(alone)(*(each[row : row + 1] for each in together)))


counts_steps = pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="JAX traces a loop, whose steps are not counted so"
)


def test_the_first_step_is_asked_for_one_row_a_sentence():
    rows, world = [], World.random(0, vocabulary=5, num_values=2)

    def step(ids, state):
        rows.append(len(ids))
        return world.step(ids, state)

    limits = dict(batch_size=3, start_id=0, end_id=1, max_length=4)
    beam_search(step, World.state([1, 2, 3]), beam_width=4, **limits)
    assert rows[0] == 3 and set(rows[1:]) == {12}


@counts_steps
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_early_stopping_takes_fewer_steps_and_finds_nothing_better(alpha):
    """Without a length penalty it is exact; with one, what it finds is real, and near the best."""
    world = World.random(seed=5, vocabulary=5, num_values=3)

    def search(**options):
        steps = []

        def counting(ids, state):
            steps.append(1)
            return world.step(ids, state)

        state = world.state(SENTENCES)
        options |= {"batch_size": 5, "beam_width": 3, "max_length": 60, "length_penalty": alpha}
        return beam_search(counting, state, **options, **TOKENS), len(steps)

    (exact, num_exact), (early, num_early) = search(), search(early_stopping=True)
    assert_true_to(world, SENTENCES, early)
    assert (np.asarray(early.scores) <= np.asarray(exact.scores) + 1e-6).all()
    if alpha == 0.0:
        assert_same(early, exact)
    else:
        assert num_early < num_exact
        assert (np.asarray(early.scores) == np.asarray(exact.scores)).any()


@counts_steps
@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("beta", [0.0, 0.2])
@pytest.mark.parametrize("num_hypotheses", [1, 3])
def test_stopping_where_none_can_win_changes_nothing(monkeypatch, alpha, beta, num_hypotheses):
    world = World.random(seed=5, vocabulary=5, num_values=3)
    steps = []

    def counting(ids, state):
        steps.append(1)
        return world.step(ids, state)

    def search():
        steps.clear()
        return beam_search(
            counting,
            world.state(SENTENCES),
            batch_size=5,
            beam_width=3,
            num_hypotheses=num_hypotheses,
            max_length=17,
            length_penalty=alpha,
            coverage_penalty=beta,
            value_mask=MASK,
            **TOKENS,
        ), len(steps)

    early, num_early = search()
    monkeypatch.setattr(
        beam._BeamSearch, "_is_open", lambda self, time, *_: ops.full((5,), time < 17)
    )
    late, num_late = search()
    assert_same(early, late)
    assert num_early < num_late == 17


def test_the_state_may_be_any_tree():
    world = World.random(seed=3, vocabulary=5, num_values=7)

    def step(ids, state):
        (inner,), count, nothing = state["a"]
        log_probs, inner, weights = world.step(ids, inner)
        assert inner["code"].shape[0] == count.shape[0]
        return log_probs, {"a": [(inner,), count + 1.0, nothing]}, weights

    state = {"a": [(world.state(SENTENCES),), ops.zeros((5, 2, 3)), ()]}
    arguments = dict(beam_width=3, num_hypotheses=2, max_length=7, **TOKENS)
    found = beam_search(step, state, batch_size=5, **arguments)
    assert_same(found, narrow(world, SENTENCES))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_summed_in_single(dtype):
    world = World.random(seed=3, vocabulary=5, num_values=7)

    def step(ids, state):
        log_probs, state, weights = world.step(ids, state)
        return ops.cast(log_probs, dtype), state, ops.cast(weights, dtype)

    found = beam_search(
        step, world.state(SENTENCES), batch_size=5, beam_width=3, max_length=7, **TOKENS
    )
    assert keras.backend.standardize_dtype(found.scores.dtype) == "float32"
    assert keras.backend.standardize_dtype(found.weights.dtype) == "float32"
    np.testing.assert_allclose(found.scores, narrow(world, SENTENCES).scores[:, :1], rtol=0.02)
