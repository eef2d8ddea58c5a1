import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_attention.search import beam_search, greedy_search, sample_search
from tests.keras_attention.search.worlds import chain

OWN = {beam_search: {"beam_width": 2}, greedy_search: {}, sample_search: {"seed": 1}}

each_search = pytest.mark.parametrize("kind", OWN)


def search(kind=beam_search, step=None, state=(), **changes):
    step = step or chain(np.full((4, 4), 0.25), num_values=2)
    limits = dict(batch_size=1, max_length=3, start_id=0, end_id=1)
    return kind(step, state, **limits | OWN[kind] | changes)


@each_search
@pytest.mark.parametrize("name", ["batch_size", "max_length"])
@pytest.mark.parametrize("value", [0, 2.0, True, None])
def test_sizes(kind, name, value):
    with pytest.raises(
        ValueError, match=f"`{name}` must be an integer, at least 1. Received: {name}"
    ):
        search(kind, **{name: value})


@pytest.mark.parametrize("kind", [beam_search, sample_search])
def test_num_hypotheses(kind):
    with pytest.raises(ValueError, match="`num_hypotheses` must be an integer, at least 1"):
        search(kind, num_hypotheses=0)


def test_beam_width():
    with pytest.raises(ValueError, match="`beam_width` must be an integer, at least 1"):
        search(beam_width=-2)
    with pytest.raises(ValueError, match="must be at most `beam_width`. .*=3, beam_width=2"):
        search(num_hypotheses=3)


def test_a_size_is_a_scalar():
    with pytest.raises(ValueError, match=r"`max_length` must be .* scalar tensor.*shape \(3,\)"):
        search(max_length=ops.ones((3,), "int32"))


@each_search
@pytest.mark.parametrize("name", ["start_id", "end_id", "pad_id", "min_length"])
def test_tokens(kind, name):
    with pytest.raises(ValueError, match=f"`{name}` must be an integer, at least 0. .*: {name}=-1"):
        search(kind, **{name: -1})


@each_search
def test_min_length(kind):
    with pytest.raises(ValueError, match="`min_length` must be less than `max_length`.*=3, max_le"):
        search(kind, min_length=3)


@pytest.mark.parametrize("name", ["length_penalty", "coverage_penalty"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "1"])
def test_penalties(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be a finite number, at least 0. Received"):
        search(**{name: value})


def test_coverage_needs_a_mask():
    with pytest.raises(ValueError, match="`coverage_penalty` needs a `value_mask` of shape"):
        search(coverage_penalty=0.1)


@pytest.mark.parametrize("shape", [(1, 5), (1,)])
def test_mask_and_weights_agree(shape):
    with pytest.raises(ValueError, match=r"`value_mask` must have shape .* weights.shape=\(2, 2\)"):
        search(coverage_penalty=0.1, value_mask=np.ones(shape, bool))


@pytest.mark.parametrize("name", ["temperature", "top_p"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), "1"])
def test_positive_numbers_of_sampling(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be .*above 0.*Received: {name}="):
        search(sample_search, **{name: value})


def test_top_p_is_a_share():
    with pytest.raises(
        ValueError, match="`top_p` must be above 0 and at most 1. Received: top_p=1.5"
    ):
        search(sample_search, top_p=1.5)


def test_top_k():
    with pytest.raises(ValueError, match="`top_k` must be an integer, at least 1"):
        search(sample_search, top_k=0)


@pytest.mark.parametrize("seed", [None, 1.0])
def test_seed(seed):
    with pytest.raises(ValueError, match="`seed` must be an integer or a `keras.random.SeedGen"):
        search(sample_search, seed=seed)


@each_search
def test_state_has_rows(kind):
    with pytest.raises(ValueError, match="Every tensor of `state` must have a leading axis"):
        search(kind, state={"time": ops.zeros(())})


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (ops.ones((2, 4)), r"must return a tuple \(log_probs, state, weights\)"),
        ((ops.ones((2, 4)), ()), r"must return a tuple \(log_probs, state, weights\)"),
        ((ops.ones((2,)), (), ops.ones((2, 3))), r"log_probs.shape=\(2,\), for ids.shape=\(2,\)"),
        ((ops.ones((3, 4)), (), ops.ones((2, 3))), r"log_probs.shape=\(3, 4\), for ids.shape"),
        ((ops.ones((2, 4)), (), ops.ones((2,))), r"weights.shape=\(2,\), for ids.shape=\(2,\)"),
        ((ops.ones((2, 1)), (), ops.ones((2, 3))), "`end_id` must be one of the .* end_id=1"),
        ((ops.ones((2, 4)), [()], ops.ones((2, 3))), "a state of the structure .* given"),
    ],
)
def test_step(returned, words):
    with pytest.raises(ValueError, match=words):
        search(step=lambda ids, state: returned, batch_size=2)


def test_vocabulary_is_known():
    @tf.function(input_signature=[tf.TensorSpec((2, None))])
    def graph(log_probs):
        return search(step=lambda ids, state: (log_probs, state, ops.zeros((2, 0))), batch_size=2)

    with pytest.raises(ValueError, match="a vocabulary whose size is known while tracing"):
        graph(ops.ones((2, 4)))


@each_search
def test_a_memory_has_a_row_for_each_sentence(kind):
    with pytest.raises(ValueError, match=r"tensor of `memory` must have a leading axis.*: memory="):
        search(kind, memory={"values": np.zeros((1, 2)), "number": np.float32(3.0)})
