"""The model is the paper's equations, in blocks or not, and its control the unweighted mean."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from applications.long_term_memory import blocks, model, problems
from applications.long_term_memory.config import LongTermMemoryConfig
from applications.long_term_memory.data import Facts
from applications.long_term_memory.model import LongTermMemory
from applications.long_term_memory.problems import ORDERS

LENGTH, COUNT, UNITS = 27, 11, 5
KINDS = [
    {},
    {"mask": False},
    {"attention": "uniform"},
    {"attention": "uniform", "mask": False},
    {"num_answers": 4, "position_scale": 22},
]


def sequences(problem="addition", count=COUNT, longest=LENGTH):
    rng = np.random.default_rng(1)
    return problems.draw(problem, rng.integers(22, longest + 1, count), longest, rng)


def make(**options):
    keras.utils.set_random_seed(7)
    made = LongTermMemory(units=UNITS, **options)
    made(sequences().inputs)
    for variable in made.variables:  # biases of 0 would hide where they are left out
        variable.assign(variable + keras.random.normal(variable.shape, stddev=0.3))
    return made


def by_hand(made, steps, length):
    """Answer and weights of one sequence, step by step."""
    weights = {each.path.split("/", 1)[1]: np.array(each, np.float64) for each in made.variables}
    rectified = model_rectify
    seen = steps if made.mask is False else steps[:length]
    hidden, scores = [], []
    for time, step in enumerate(seen):
        x = np.append(step, time / made.position_scale) if made.position_scale else step
        hidden.append(rectified(x @ weights["hidden/kernel"] + weights["hidden/bias"]))
        if made.attention == "learned":
            score = hidden[-1] @ weights["pooling/kernel"] + weights["pooling/bias"]
            scores.append(np.tanh(score[0]))
    alpha = np.exp(scores) if scores else np.ones(len(seen))
    alpha /= alpha.sum()
    context = sum(weight * each for weight, each in zip(alpha, hidden, strict=True))
    combined = rectified(context @ weights["combine/kernel"] + weights["combine/bias"])
    answer = combined @ weights["answer/kernel"] + weights["answer/bias"]
    alpha = np.append(alpha, np.zeros(len(steps) - len(seen)))
    return (answer if made.num_answers else rectified(answer)), alpha


def model_rectify(x):
    return np.where(x > 0, x, 0.01 * x)


@pytest.mark.parametrize("options", KINDS)
def test_the_model_is_its_equations(options):
    made, drawn = make(**options), sequences()
    answers, weights = made.recall(drawn.sequence, drawn.lengths)
    for row in range(COUNT):
        answer, alpha = by_hand(made, drawn.sequence[row], drawn.lengths[row])
        np.testing.assert_allclose(answers[row], answer, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(weights[row], alpha, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("attention", "count"), [("learned", 10602), ("uniform", 10501)])
def test_it_has_as_many_weights_as_the_paper_s(attention, count):
    made = LongTermMemory(attention=attention)
    made(sequences().inputs)
    assert made.count_params() == count


def test_initial_weights_spread_as_the_paper_s():
    made = LongTermMemory(units=400)
    made(sequences().inputs)
    for variable in made.variables:
        values, inputs = np.array(variable), variable.shape[0]
        if "bias" in variable.path:
            assert not values.any()
        else:
            assert values.std() * np.sqrt(inputs) == pytest.approx(1.0, abs=0.12), variable.path


def slopes(made, drawn, compiled=False):
    def run(sequence, lengths):
        with tf.GradientTape() as tape:
            answers, weights = made.recall(sequence, lengths)
            loss = tf.reduce_sum(answers**2) + tf.reduce_sum(weights**3)
        return loss, tape.gradient(loss, [each.value for each in made.trainable_variables])

    function = tf.function(run, jit_compile=True, autograph=False) if compiled else run
    return function(tf.constant(drawn.sequence), tf.constant(drawn.lengths))


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("compiled", [False, True])
def test_blocks_change_no_answer_and_no_gradient(options, compiled, monkeypatch):
    made, drawn = make(**options), sequences()
    loss, whole = slopes(made, drawn)
    monkeypatch.setattr(blocks, "_ELEMENTS", 3 * UNITS * LENGTH)  # three sequences, and two at last
    in_blocks_loss, in_blocks = slopes(made, drawn, compiled)
    np.testing.assert_allclose(loss, in_blocks_loss, rtol=1e-5)
    for one, other, variable in zip(whole, in_blocks, made.variables, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5, err_msg=variable.path)


@pytest.mark.parametrize("compiled", [False, True])
def test_blocks_of_sequences_that_end_anywhere(compiled, monkeypatch):
    lengths = np.array([22, 199, 25, 26, 27, 50, 51, 75, 76, 150, 200])
    drawn = problems.draw("addition", lengths, 200, np.random.default_rng(1))
    monkeypatch.setattr(blocks, "_ELEMENTS", 10**9)
    monkeypatch.setattr(blocks, "_PART", 20)
    made = make()
    loss, whole = slopes(made, drawn)
    for rows in (1, 2):
        monkeypatch.setattr(blocks, "_ELEMENTS", rows * UNITS * 200)
        in_blocks_loss, in_blocks = slopes(made, drawn, compiled)
        np.testing.assert_allclose(loss, in_blocks_loss, rtol=1e-5)
        for one, other, variable in zip(whole, in_blocks, made.variables, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5, err_msg=variable.path)


@pytest.mark.parametrize(
    ("part", "expected"), [(100, [100, 100, 200, 500, 800]), (300, [300, 300, 300, 600, 800])]
)
def test_padding_is_hardly_read(part, expected, monkeypatch):
    monkeypatch.setattr(blocks, "_ELEMENTS", UNITS * 800)  # one sequence a block
    monkeypatch.setattr(blocks, "_PART", part)
    made = make()
    read, real = [], made._read

    def counting(variables, sequence, lengths):
        read.append(sequence.shape[1])
        return real(variables, sequence, lengths)

    monkeypatch.setattr(made, "_read", counting)
    lengths = np.array([22, 100, 101, 500, 800])
    drawn = problems.draw("addition", lengths, 800, np.random.default_rng(1))
    made.recall(tf.constant(drawn.sequence), tf.constant(drawn.lengths))
    assert read == expected


def test_blocks_of_sizes_known_later(monkeypatch):
    made, drawn = make(), sequences()
    expected = made.recall(drawn.sequence, drawn.lengths)
    monkeypatch.setattr(blocks, "_ELEMENTS", 3 * UNITS * LENGTH)
    monkeypatch.setattr(blocks, "_PART", 5)
    specs = [tf.TensorSpec((None, None, 2)), tf.TensorSpec((None,), tf.int32)]
    run = tf.function(made.recall, input_signature=specs, autograph=False)
    for rows in (COUNT, 1, 0):
        found = run(drawn.sequence[:rows], drawn.lengths[:rows])
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other[:rows], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"attention": "uniform"}, {"position_scale": 22}])
def test_padding_further_changes_nothing_under_a_mask(options):
    made, drawn = make(**options), sequences()
    further = np.pad(drawn.sequence, [(0, 0), (0, 13), (0, 0)], constant_values=3.0)
    further[:, :LENGTH] = drawn.sequence
    answers, weights = made.recall(drawn.sequence, drawn.lengths)
    other_answers, other_weights = made.recall(further, drawn.lengths)
    np.testing.assert_allclose(answers, other_answers, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(weights, np.array(other_weights)[:, :LENGTH], rtol=1e-5, atol=1e-7)
    assert not np.array(other_weights)[:, LENGTH:].any()


def test_what_is_seen_has_no_order_unless_time_is():
    drawn = sequences("order", longest=22)
    shuffled = drawn.sequence[:, np.random.default_rng(2).permutation(22)]
    plain, timed = make(num_answers=4), make(num_answers=4, position_scale=22)
    same, other = (
        [np.array(made.recall(each, drawn.lengths).answers) for each in (drawn.sequence, shuffled)]
        for made in (plain, timed)
    )
    np.testing.assert_allclose(*same, rtol=1e-4, atol=1e-5)
    assert np.abs(other[0] - other[1]).max() > 1e-3


@pytest.mark.parametrize("options", [{}, {"problem": "order", "positions": True}])
def test_a_step_of_training_moves_every_weight(options):
    config = LongTermMemoryConfig(units=UNITS, length=22, updates=2, **options)
    made = model.build(config, Facts(24, ORDERS if options else ()))
    before = [np.array(each) for each in made.trainable_variables]
    drawn = sequences(config.problem, 16)
    logs = made.fit(drawn.inputs, drawn.answers, batch_size=8, verbose=0)
    assert {"loss", "accuracy"} <= set(logs.history)
    for variable, old in zip(made.trainable_variables, before, strict=True):
        assert (np.array(variable) != old).any(), variable.path


def test_saved_and_loaded_it_gives_the_same_answers(tmp_path):
    drawn = sequences()
    for options in KINDS:
        made = make(**options)
        made.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(again(drawn.inputs), made(drawn.inputs))


def test_a_number_is_right_if_near_and_a_choice_if_greatest():
    told = np.array([[0.5], [0.5], [0.5]], np.float32)
    near = model.is_close(np.array([[0.47], [0.55], [0.5399]]), told)
    assert np.array(near).tolist() == [[1.0], [0.0], [1.0]]
    chosen = model.is_chosen(np.array([[1], [0]]), np.array([[0.0, 2.0, 1.0], [0.0, 2.0, 1.0]]))
    assert np.array(chosen).tolist() == [[1.0], [0.0]]


def test_training_ends_once_all_is_right():
    stop = model.StopWhenSolved()
    stop.set_model(SimpleNamespace(stop_training=False))
    for accuracy, ended in ((0.999, False), (1.0, True)):
        stop.on_epoch_end(0, {"val_accuracy": accuracy})
        assert stop.model.stop_training == ended
