"""Memory networks against loops over the paper's equations, and a world of one fact to find."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_attention import (
    LinearStart,
    MemoryAddressing,
    RemovableSoftmax,
    SentenceEmbedding,
    TimeWords,
)
from keras_attention.memory_addressing.encoding import position_encoding

B, N, J, V, units = 3, 5, 4, 17, 7


def stories(seed=0):
    ids = np.random.default_rng(seed).integers(1, V, size=(B, N, J)).astype("int32")
    ids[0, 3:] = 0  # two sentences short
    ids[1, :, 2:] = 0  # short sentences
    return ids


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def numpy(tree):
    return keras.tree.map_structure(ops.convert_to_numpy, tree)


def softmax(scores):
    shifted = np.exp(scores - scores.max())
    return shifted / shifted.sum()


def oracle(question, story, addresses, contents, onward=None, linear=False):
    """One question (units,) and its sentences (N', F), by the paper's equations."""
    u, all_weights = question, []
    for A, C in zip(addresses, contents, strict=True):
        scores = np.array([u @ (A.T @ x) for x in story])
        weights = scores if linear else softmax(scores)
        o = sum(p * (C.T @ x) for p, x in zip(weights, story, strict=True))
        u = (u if onward is None else onward.T @ u) + o
        all_weights.append(weights)
    return u, all_weights


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("tying", ["adjacent", "layer_wise", "none"])
def test_hops_are_the_papers(tying, linear):
    rng = np.random.default_rng(1)
    query, memory = rng.normal(size=(B, units)), rng.normal(size=(B, N, 11))
    mask = np.ones((B, N), bool)
    mask[1, 3:] = False
    layer = MemoryAddressing(keras.layers.Dense(units, use_bias=False), 3, tying)
    layer.build(query.shape, memory.shape)
    if linear:
        for hop in layer.hops:
            hop.normalizer.linear.assign(True)
    answer, weights = numpy(layer(query, memory, memory_mask=mask, return_attention_scores=True))
    A, C = ([numpy(e.kernel) for e in side] for side in (layer.addresses, layer.contents))
    onward = numpy(layer.kernel) if tying == "layer_wise" else None
    for b in range(B):
        story = memory[b][mask[b]]
        expected, expected_weights = oracle(query[b], story, A, C, onward, linear)
        np.testing.assert_allclose(answer[b], expected, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(weights[b][:, mask[b]], expected_weights, rtol=1e-3, atol=1e-4)
        assert (weights[b][:, ~mask[b]] == 0.0).all()


@pytest.mark.parametrize(("tying", "count"), [("adjacent", 4), ("layer_wise", 3), ("none", 6)])
def test_embeddings_are_shared_by_tying(tying, count):
    layer = MemoryAddressing(keras.layers.Dense(units, use_bias=False), 3, tying)
    layer.build((B, units), (B, N, 11))
    assert len(layer.trainable_weights) == count
    kernels = [numpy(each) for each in layer.trainable_weights]
    assert not any(np.array_equal(kernels[0], each) for each in kernels[1:])
    if tying == "adjacent":
        assert layer.addresses[1] is layer.contents[0] and layer.addresses[2] is layer.contents[1]


def test_keys_and_values_are_read_as_they_come():
    rng = np.random.default_rng(2)
    query, keys, values = (rng.normal(size=s) for s in ((B, units), (B, N, units), (B, N, units)))
    answer = numpy(MemoryAddressing(num_hops=1)(query, keys, values))
    for b in range(B):
        expected = query[b] + softmax(keys[b] @ query[b]) @ values[b]
        np.testing.assert_allclose(answer[b], expected, rtol=1e-3, atol=1e-5)


def test_an_empty_memory_leaves_the_question_as_it_is():
    embed = SentenceEmbedding(V, units)
    layer = MemoryAddressing(embed, 2)
    query = np.random.default_rng(3).normal(size=(B, units)).astype("float32")
    answer, weights = layer(query, np.zeros((B, N, J), "int32"), return_attention_scores=True)
    np.testing.assert_array_equal(numpy(answer), query)
    assert not numpy(weights).any()


def test_empty_sentences_are_masked_and_count_for_nothing():
    layer = MemoryAddressing(SentenceEmbedding(V, units), 2)
    query = np.random.default_rng(3).normal(size=(B, units)).astype("float32")
    ids = stories()
    answer, weights = numpy(layer(query, ids, return_attention_scores=True))
    assert (weights[0, :, 3:] == 0.0).all()
    longer = np.concatenate([ids, np.zeros((B, 2, J), "int32")], axis=1)
    np.testing.assert_allclose(numpy(layer(query, longer)), answer, rtol=1e-5, atol=1e-6)


def test_a_mask_may_be_of_the_content_or_of_a_layer_in_the_embedding():
    query, memory, content = (draw(*shape) for shape in ((B, 5), (B, N, 5), (B, N, 5)))
    content[0, 2:] = 0.0
    masked = keras.layers.Masking()(ops.convert_to_tensor(content))
    _, weights = MemoryAddressing(num_hops=2)(query, memory, masked, return_attention_scores=True)
    assert (numpy(weights)[0, :, 2:] == 0.0).all() and (numpy(weights)[1] > 0.0).all()
    embed = keras.Sequential([SentenceEmbedding(V, 6), keras.layers.Dense(5)])
    ids = stories()
    _, weights = MemoryAddressing(embed, 2)(query, ids, return_attention_scores=True)
    empty = (ids == 0).all(-1)
    assert empty.any() and (numpy(weights).swapaxes(1, 2)[empty] == 0.0).all()


def test_the_question_may_be_embedded_by_the_first_address_and_saved_so(tmp_path):
    story, question = keras.Input((None, J), dtype="int32"), keras.Input((J,), dtype="int32")
    embed = SentenceEmbedding(V, units)
    answer = MemoryAddressing(embed, 2)(embed(question), story)
    model = keras.Model([story, question], keras.layers.Dense(V)(answer))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    data, target = [stories(), stories(1)[:, 0]], np.array([1, 2, 3])
    model.fit(data, target, verbose=0)
    assert sum("embeddings" in weight.path for weight in model.weights) == 3  # A_1 = B, C_1, C_2
    model.save(tmp_path / "model.keras")
    revived = keras.saving.load_model(tmp_path / "model.keras")
    assert len(revived.weights) == len(model.weights)
    np.testing.assert_allclose(numpy(revived(data)), numpy(model(data)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("encoded", [False, True])
def test_a_sentence_is_a_weighted_sum_of_words(encoded):
    layer, ids = SentenceEmbedding(V, units, encoded), stories()
    found = numpy(layer(ids))
    table = numpy(layer.embeddings)
    for b, n in np.ndindex(B, N):
        expected = np.zeros(units)
        for j, word in enumerate(ids[b, n], start=1):
            for k in range(1, units + 1):
                weight = 1 + 4 * (j - (J + 1) / 2) * (k - (units + 1) / 2) / (J * units)
                expected[k - 1] += (word != 0) * (weight if encoded else 1.0) * table[word, k - 1]
        np.testing.assert_allclose(found[b, n], expected, rtol=1e-4, atol=1e-6)


def test_position_encoding_is_one_on_average():
    np.testing.assert_allclose(position_encoding(6, 20).mean(axis=0), 1.0, rtol=1e-6)


def test_time_words_count_back_from_the_last_sentence():
    ids = numpy(TimeWords(first_id=V, num_times=9)(stories()))
    assert ids.shape == (B, N, J + 1)
    assert ids[0, :, -1].tolist() == [V + 2, V + 1, V, 0, 0]
    assert ids[1, :, -1].tolist() == [V + 4, V + 3, V + 2, V + 1, V]
    np.testing.assert_array_equal(ids[..., :-1], stories())


@pytest.mark.parametrize("training", [False, True])
def test_sentences_older_than_all_times_share_the_last(training):
    ids = numpy(TimeWords(first_id=V, num_times=2, noise=0.5)(stories(), training=training))
    assert ids[1, :3, -1].tolist() == [V + 1] * 3
    assert set(ids[1, 3:, -1]) <= {V, V + 1}


def test_blanks_leave_the_order_and_are_as_many_as_they_should_be():
    layer = TimeWords(first_id=0, num_times=20, noise=0.3, seed=1)
    ids = np.ones((4000, 20, 1), "int32")
    ids[:, 10:] = 0  # ten sentences: 0 to 3 blanks
    times = numpy(layer(ids, training=True))[:, :10, 1]
    assert (np.diff(times, axis=1) < 0).all()
    blanks_before_the_oldest = times[:, 0] - 9
    assert blanks_before_the_oldest.min() == 0 and blanks_before_the_oldest.max() == 3
    # Of b blanks in 10 + b places, the mean time of the sentence c-th from the end (from 0) is
    # that of an order statistic, (c + 1)(10 + b + 1) / 11 - 1.
    for c in range(10):
        expected = np.mean([(c + 1) * (11 + b) / 11 - 1 for b in range(4)])
        assert abs(times[:, 9 - c].mean() - expected) < 0.08
    quiet = numpy(layer(ids))[:, :10, 1]
    assert (quiet == np.arange(9, -1, -1)).all()


def test_blanks_come_between_more_sentences_than_there_are_times():
    layer = TimeWords(first_id=0, num_times=3, noise=0.5, seed=1)
    times = numpy(layer(np.ones((2000, 12, 1), "int32"), training=True))[..., 1]
    assert (np.diff(times, axis=1) <= 0).all() and times.max() == 2
    # Of b blanks in 12 + b places, uniformly 0 to 6: how often the last place is a sentence.
    expected = np.mean([12 / (12 + b) for b in range(7)])
    assert abs((times[:, -1] == 0).mean() - expected) < 0.03


def chains(count, seed):
    """A world of two hops: `a b` says that a is at b; where is what c holds?"""
    rng = np.random.default_rng(seed)
    things, people, places = np.arange(1, 5), np.arange(5, 9), np.arange(9, 13)
    story, question, answer = [], [], []
    for _ in range(count):
        holders, homes = rng.permutation(people), rng.permutation(places)
        facts = [*zip(things, holders, strict=True), *zip(people, homes, strict=True)]
        thing = rng.integers(4)
        story.append(np.array([facts[i] for i in rng.permutation(8)]))
        question.append([things[thing], 0])
        answer.append(homes[list(people).index(holders[thing])] - 9)
    return [np.array(story, "int32"), np.array(question, "int32")], np.array(answer, "int32")


def test_two_hops_follow_two_facts():
    story, question = keras.Input((8, 2), dtype="int32"), keras.Input((2,), dtype="int32")
    keras.utils.set_random_seed(4)
    embed = SentenceEmbedding(
        13, 20, embeddings_initializer=keras.initializers.RandomNormal(0, 0.3)
    )
    answer = MemoryAddressing(embed, 2)(embed(question), story)
    model = keras.Model([story, question], keras.layers.Dense(4)(answer))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    x, y = chains(2000, seed=5)
    model.fit(x, y, epochs=25, batch_size=32, verbose=0, callbacks=[LinearStart(epochs=5)])
    assert model.evaluate(*chains(300, seed=6), verbose=0)[1] > 0.95


def linear_model():
    memory, query = keras.Input((N, units)), keras.Input((units,))
    model = keras.Model([memory, query], MemoryAddressing(num_hops=2)(query, memory))
    dense = keras.Sequential([keras.layers.Dense(1)])
    full = keras.Model(model.inputs, dense(model.outputs[0]))
    full.compile("sgd", "mse")
    return full


def data():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(B, N, units)), rng.normal(size=(B, units))], np.ones((B, 1))


def switches(model):
    return [
        bool(numpy(each.linear))
        for each in model._flatten_layers()
        if isinstance(each, RemovableSoftmax)
    ]


def test_linear_start_ends_after_its_epochs():
    model, seen = linear_model(), []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(switches(model))
    )
    model.fit(*data(), epochs=4, verbose=0, callbacks=[LinearStart(epochs=2), watch])
    assert seen == [[True] * 2] * 2 + [[False] * 2] * 2


def test_linear_start_ends_with_the_training():
    model, callback = linear_model(), LinearStart(epochs=5)
    model.fit(*data(), epochs=2, verbose=0, callbacks=[callback])
    assert switches(model) == [False] * 2
    watched = LinearStart(monitor="loss")
    for _ in range(2):  # what was lowest in one training is nothing to the next
        watched.previous = 0.0
        model.fit(*data(), epochs=1, verbose=0, callbacks=[watched])
        assert watched.previous > 0.0 and switches(model) == [False] * 2


def test_linear_start_ends_when_the_loss_no_longer_falls():
    model, callback = linear_model(), LinearStart()
    callback.set_model(model)
    for epoch, loss in enumerate([3.0, 2.0, 2.5, 1.0]):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {"val_loss": loss})
        assert switches(model) == [epoch < 2] * 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MemoryAddressing(num_hops=0), "`num_hops` must be a positive integer"),
        (lambda: MemoryAddressing(tying="all"), "`tying` must be one of"),
        (lambda: MemoryAddressing()(np.ones((2, 3, 4)), np.ones((2, 5, 4))), "one question each"),
        (
            lambda: MemoryAddressing()(np.ones((2, 5)), np.ones((2, 4, 5)), np.ones((2, 3, 5))),
            r"with as many slots. Received: memory.shape=\(2, 4, 5\), content.shape=\(2, 3, 5\)",
        ),
        (
            lambda: MemoryAddressing()(np.ones((2, 5)), np.ones((2, 4, 5)), np.ones((2, 4, 6))),
            r"`content`, embedded, must have shape .*query.shape=\(2, 5\).*shape \(2, 4, 6\)",
        ),
        (
            lambda: MemoryAddressing(keras.layers.Dense(7))(np.ones((2, 5)), np.ones((2, 4, 3))),
            r"`memory`, embedded, must have shape .*query.shape=\(2, 5\).*shape \(2, 4, 7\)",
        ),
        (
            lambda: MemoryAddressing(keras.layers.Dense(5))(
                np.ones((2, 5)), np.ones((2, 4, 3)), np.ones((2, 4, 6))
            ),
            "`content` must be as wide as `memory`",
        ),
        (
            lambda: MemoryAddressing()(
                np.ones((2, 5)), np.ones((2, 4, 5)), memory_mask=np.ones((2, 3), bool)
            ),
            "a mask over 3 slots, of 4",
        ),
        (
            lambda: SentenceEmbedding(9, 5)(keras.Input((None,), dtype="int32")),
            "must have a known number of words",
        ),
        (lambda: TimeWords(1, 0), "`num_times` must be a positive integer"),
        (lambda: LinearStart(epochs=-1), "`epochs` must be a whole number"),
        (lambda: TimeWords(1, 5, noise=2.0), r"`noise` must be in \[0, 1\]"),
        (lambda: TimeWords(1, 2)(np.ones((1, 3), "int32")), r"shape \(batch, sentences, words\)"),
    ],
)
def test_errors_say_what_was_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_linear_start_needs_a_memory_and_a_loss_to_watch():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="must have a `MemoryAddressing` layer"):
        model.fit(np.ones((2, 2)), np.ones((2, 1)), verbose=0, callbacks=[LinearStart(2)])
    with pytest.raises(ValueError, match="`monitor` must be one of the logs"):
        linear_model().fit(*data(), verbose=0, callbacks=[LinearStart()])
