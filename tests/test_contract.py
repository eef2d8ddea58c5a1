"""Every public layer against the contract: one row each, and a failure where there is none."""

from __future__ import annotations

import keras
import pytest

import keras_attention
from keras_attention import (
    AdditiveScore,
    AdditiveSoftAttention,
    AlphaEntmax,
    AttentionCell,
    AttentionDecoder,
    BilinearScore,
    CosineScore,
    DotAttention,
    DotScore,
    FeedForwardAttention,
    GlimpseNetwork,
    HardAttention,
    LocalAttention,
    LocationAwareScore,
    LocationSampler,
    MemoryAddressing,
    MonotonicAttention,
    MultiHeadAttention,
    NetworkScore,
    NTMCell,
    RecurrentAttention,
    RemovableSoftmax,
    Retina,
    Score,
    SentenceEmbedding,
    Sharpened,
    SoftAttention,
    StackCell,
    TimeWords,
    normalizers,
)
from tests import contract, contract_export
from tests.contract_rows import (
    Row,
    assert_same,
    attended,
    decode_one_by_one,
    decoded,
    score_one_by_one,
    scored,
    stepped,
)

B, Tq, Tv, Dq, Dv, Dk = 3, 2, 5, 7, 11, 13

ATTENTION = {
    "inputs": {"query": (B, Tq, Dq), "value": (B, Tv, Dv), "key": (B, Tv, Dk)},
    "masks": {"query_mask": ("query",), "value_mask": ("value", "key")},
}
NO_KEY = {
    "inputs": {"query": (B, Tq, Dv), "value": (B, Tv, Dv)},
    "masks": {"query_mask": ("query",), "value_mask": ("value",)},
}
SCORE = {
    "inputs": {"query": (B, Tq, Dq), "key": (B, Tv, Dk)},
    "call": scored,
    "one_by_one": score_one_by_one,
    "without": {
        clause.__name__: "a score takes no mask: its scores are masked by the normaliser"
        for clause in contract.contract_masks.CLAUSES
    },
}
DECODER = {
    "inputs": {"inputs": (B, 4, 2), "value": (B, Tv, Dv), "key": (B, Tv, Dk)},
    "masks": {"inputs_mask": ("inputs",), "value_mask": ("value", "key")},
    "call": decoded,
    "one_by_one": decode_one_by_one,
}


@keras.saving.register_keras_serializable(package="tests")
class TwoSteps(keras.layers.Layer):
    """The second step of an `AttentionCell`, which is called with a state and a memory."""

    def __init__(self, cell, **kwargs):
        super().__init__(**kwargs)
        self.cell = cell

    def build(self, inputs_shape, value_shape):
        if not self.cell.built:
            self.cell.build(inputs_shape, value_shape)

    def call(self, inputs, value, value_mask=None):
        memory = self.cell.prepare(value, mask=value_mask)
        first = self.cell(inputs, self.cell.initial_state(memory), memory)
        return self.cell(inputs, first.state, memory)[:3]

    def get_config(self):
        return {**super().get_config(), "cell": keras.saving.serialize_keras_object(self.cell)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "cell": keras.saving.deserialize_keras_object(config["cell"])})


CELL = {
    "inputs": {"inputs": (B, 2), "value": (B, Tv, Dv)},
    "masks": {"value_mask": ("value",)},
    "call": stepped,
    "one_by_one": None,
    "without": {
        "registered_name": "the row's layer is a test's; the cell's name is a decoder's row's part",
        "steps_are_the_sequence": "it is one step; `AttentionDecoder` is its sequence",
    },
}


def attended_by_heads(layer, inputs, **options):
    """With the mean weights of the heads, which are what one step of a decoder gives."""
    outputs = attended(layer, inputs, **options)
    return {**outputs, "weights": keras.ops.mean(outputs["weights"], axis=1)}


def pooled(layer, inputs, value_mask=None):
    context, weights = layer(**inputs, mask=value_mask, return_attention_scores=True)
    return {"context": context, "weights": weights}


POOLING = {
    "inputs": {"value": (B, Tv, Dv)},
    "masks": {"value_mask": ("value",)},
    "call": pooled,
    "one_by_one": None,
    "without": {"steps_are_the_sequence": "there is no query, so there are no steps"},
}


def scored_after(layer, inputs):
    """Scores of queries that each know where attention was before: `previous` (B, Tq, Tv)."""
    previous = inputs["previous"]
    rows = keras.ops.reshape(previous, (-1, previous.shape[-1]))
    return {"scores": layer(inputs["query"], inputs["key"], (rows,))}


def score_one_by_one_after(layer, inputs):
    query, previous = (keras.ops.convert_to_tensor(inputs[name]) for name in ("query", "previous"))
    keys = layer.project_key(inputs["key"])
    steps = [layer.score(query[:, t : t + 1], keys, previous[:, t]) for t in range(Tq)]
    return {"scores": keras.ops.concatenate(steps, axis=1)}


def weighed(layer, inputs):
    """A normaliser gives back the dtype that it is given."""
    return {"weights": layer(keras.ops.cast(inputs["scores"], layer.compute_dtype))}


NORMALIZER = {
    "inputs": {"scores": (B, Tq, Tv)},
    "call": weighed,
    "one_by_one": None,
    "without": {
        "steps_are_the_sequence": "it has no steps: each row is normalised by itself",
        **{
            clause.__name__: "it has no `value_mask`: see the rows of attention layers with it"
            for clause in contract.contract_masks.CLAUSES
        },
    },
}


def with_states_in(call):
    """A call's outputs in the layer's dtype, where a state is a sum or a count kept in another."""

    def outputs(layer, inputs, **options):
        named = call(layer, inputs, **options)
        return {name: keras.ops.cast(each, layer.compute_dtype) for name, each in named.items()}

    return outputs


DRAWS = {
    "fit_step": "what is drawn gives the score no gradient without a `ScoreFunctionModel`, with "
    "which `test_score_function.py` holds it to the same",
}


STEPPING = {
    **ATTENTION,
    "without": {
        clause: "where it stops has no gradient: `test_monotonic.py` compiles it"
        for clause in (
            "eager_is_graph_is_xla",
            "gradients_are_derivatives",
            "gradients_with_nothing_to_look_at",
            "padding_changes_no_gradient",
        )
    },
}
VISION = {
    "one_by_one": None,
    "without": {
        "steps_are_the_sequence": "it decides by itself how often it looks",
        **{clause.__name__: "an image has no mask" for clause in contract.contract_masks.CLAUSES},
    },
}
VISION_DRAWS = {**VISION, "without": {**VISION["without"], **DRAWS}}


def glimpsed(layer, inputs):
    return layer(**inputs)._asdict()


def glimpser(cell, channels, **options):
    """Looks beside the middle first, where nothing that the glimpse network sees is exactly 0."""
    network, sampler = GlimpseNetwork(5, 3, dropout=0.2), LocationSampler(std=0.3)
    layer = RecurrentAttention(Retina(3, scales=2), network, cell, sampler, **options)
    layer.build((None, 8, 6, channels))
    sampler.mean.bias.assign([0.3, -0.2])
    return layer


def answered(layer, inputs, value_mask=None, **riding):
    """With the mean weights of the hops."""
    query, memory = inputs["query"], inputs["value"]
    if value_mask is not None:
        riding = {"memory_mask": value_mask}
    answer, weights = layer(query, memory, **riding, return_attention_scores=True)
    return {"context": answer, "weights": keras.ops.mean(weights, axis=1)}


def spoken(layer, inputs):
    """Of words, which are whole numbers; times numbers that gradients can go through."""
    told = keras.ops.cast(inputs["told"], layer.compute_dtype)
    words = keras.ops.cast(keras.ops.abs(told) * 3.0, "int32") % 10
    vectors = keras.ops.cast(layer(words), layer.compute_dtype)
    return {"vectors": vectors * keras.ops.sum(told, axis=-1, keepdims=True)}


SENTENCES = {
    "inputs": {"told": (B, 4, 3)},
    "call": spoken,
    "one_by_one": None,
    "without": {
        "steps_are_the_sequence": "it has no steps",
        **{
            clause.__name__: "it takes no mask: word 0 is none"
            for clause in contract.contract_masks.CLAUSES
        },
    },
}
MEMORY = {
    "inputs": {"query": (B, Dq), "value": (B, Tv, Dv)},
    "masks": {"value_mask": ("value",)},
    "call": answered,
    "one_by_one": None,
    "without": {
        "steps_are_the_sequence": "there is one question",
        "nothing_to_look_at": "then the answer is the question: see test_memory_addressing.py",
    },
}


def run(layer, inputs):
    """A cell over time, in Keras' `RNN`, with all its last states."""
    outputs, *states = layer(inputs["sequence"])
    return {"outputs": outputs, **{f"state_{i}": state for i, state in enumerate(states)}}


def run_one_by_one(layer, inputs):
    states = layer.cell.get_initial_state(batch_size=len(inputs["sequence"]))
    outputs = []
    for now in keras.ops.unstack(keras.ops.convert_to_tensor(inputs["sequence"]), axis=1):
        output, states = layer.cell(now, states)
        outputs.append(output)
    named = {f"state_{i}": state for i, state in enumerate(states)}
    return {"outputs": keras.ops.stack(outputs, axis=1), **named}


def over_time(cell):
    return keras.layers.RNN(cell, return_sequences=True, return_state=True)


MACHINE = {
    "inputs": {"sequence": (B, 4, 3)},
    "call": run,
    "one_by_one": run_one_by_one,
    "without": {
        clause.__name__: "`keras.layers.RNN` holds the states of a machine at masked steps"
        for clause in contract.contract_masks.CLAUSES
    },
}


def concat():
    return keras.Sequential([keras.layers.Dense(5, "tanh"), keras.layers.Dense(1, use_bias=False)])


def decoder(cell, attention=None, **options):
    attention = AdditiveSoftAttention(units=3) if attention is None else attention
    return AttentionDecoder(AttentionCell(cell, attention, **options))


def stacked():
    return keras.layers.StackedRNNCells([keras.layers.GRUCell(3), keras.layers.LSTMCell(5)])


ROWS = {
    "additive score": Row(AdditiveScore, lambda: AdditiveScore(5, use_bias=True), **SCORE),
    "additive score, normalized": Row(
        AdditiveScore, lambda: AdditiveScore(5, normalize=True), **SCORE
    ),
    "bilinear score": Row(BilinearScore, BilinearScore, **SCORE),
    "network score": Row(NetworkScore, lambda: NetworkScore(concat()), **SCORE),
    "dot score": Row(
        DotScore,
        lambda: DotScore(scale=0.3, trainable_scale=True),
        **{**SCORE, "inputs": {"query": (B, Tq, Dk), "key": (B, Tv, Dk)}},
    ),
    "cosine score": Row(
        CosineScore,
        lambda: CosineScore(scale=0.3, trainable_scale=True),
        **{**SCORE, "inputs": {"query": (B, Tq, Dk), "key": (B, Tv, Dk)}},
    ),
    "location-aware score": Row(
        LocationAwareScore,
        lambda: LocationAwareScore(7, filters=2, kernel_size=3),
        **{
            **SCORE,
            "inputs": {**SCORE["inputs"], "previous": (B, Tq, Tv)},
            "call": scored_after,
            "one_by_one": score_one_by_one_after,
        },
    ),
    "alpha-entmax": Row(AlphaEntmax, AlphaEntmax, **NORMALIZER),
    "additive": Row(AdditiveSoftAttention, lambda: AdditiveSoftAttention(5), **ATTENTION),
    "additive, by blocks": Row(  # As soon as it has pairs enough: see `blockwise.is_small`.
        AdditiveSoftAttention,
        lambda: AdditiveSoftAttention(67),
        **{**ATTENTION, "inputs": {"query": (B, 17, Dq), "value": (B, 19, Dv), "key": (B, 19, Dk)}},
    ),
    "additive, biased, dropping": Row(
        AdditiveSoftAttention,
        lambda: AdditiveSoftAttention(
            5, True, normalizers.entmax15, dropout=0.3, kernel_initializer="he_normal"
        ),
        **NO_KEY,
    ),
    "dot": Row(DotAttention, lambda: DotAttention(scale=None), **NO_KEY),
    "dot, learned scale": Row(DotAttention, lambda: DotAttention(0.7, True), **NO_KEY),
    "bilinear, sparsemax": Row(
        SoftAttention,
        # Small scores, so that no value is left out but by a mask.
        lambda: SoftAttention(
            BilinearScore(keras.initializers.RandomNormal(stddev=0.01)), normalizers.sparsemax
        ),
        **ATTENTION,
    ),
    "network, entmax15": Row(
        SoftAttention,
        lambda: SoftAttention(NetworkScore(concat()), normalizers.entmax15),
        **ATTENTION,
    ),
    "additive, sigmoid": Row(
        SoftAttention, lambda: SoftAttention(AdditiveScore(5), normalizers.sigmoid), **ATTENTION
    ),
    "multi-head, additive": Row(
        MultiHeadAttention,
        lambda: MultiHeadAttention(
            AdditiveScore(5), 2, 3, value_dim=5, output_dim=17, kernel_initializer="he_normal"
        ),
        **{**ATTENTION, "call": attended_by_heads},
    ),
    # The softmax of dot products takes no notice of a bias of the keys, which no step would move.
    "multi-head, dot, dropping": Row(
        MultiHeadAttention,
        lambda: MultiHeadAttention(DotScore(scale=None), 3, 5, dropout=0.3, use_bias=False),
        **{**NO_KEY, "call": attended_by_heads},
    ),
    "multi-head, location-aware, alpha-entmax": Row(
        MultiHeadAttention,
        lambda: MultiHeadAttention(LocationAwareScore(5, 2, 3), 2, 3, normalizer=AlphaEntmax(1.2)),
        **{**NO_KEY, "call": attended_by_heads},
    ),
    "local, monotonic": Row(
        LocalAttention,
        lambda: LocalAttention(AdditiveScore(5), window=1, alignment="monotonic"),
        **ATTENTION,
    ),
    "local, predictive": Row(
        LocalAttention, lambda: LocalAttention(BilinearScore(), window=2, units=3), **ATTENTION
    ),
    "local, previous": Row(
        LocalAttention,
        lambda: LocalAttention(AdditiveScore(5), window=2, alignment="previous"),
        **ATTENTION,
    ),
    "smoothed": Row(
        SoftAttention, lambda: SoftAttention(BilinearScore(), normalizers.smoothed), **ATTENTION
    ),
    "sharpened": Row(Sharpened, lambda: Sharpened(1.7), **NORMALIZER),
    "monotonic, mean": Row(
        MonotonicAttention,
        lambda: MonotonicAttention(AdditiveScore(5, normalize=True), inference="mean"),
        **ATTENTION,
    ),
    "monotonic chunkwise, mean": Row(
        MonotonicAttention,
        lambda: MonotonicAttention(AdditiveScore(5), 3, BilinearScore(), "mean", dropout=0.2),
        **ATTENTION,
    ),
    "monotonic, infinite lookback, mean": Row(
        MonotonicAttention,
        lambda: MonotonicAttention(BilinearScore(), None, AdditiveScore(5), "mean"),
        **ATTENTION,
    ),
    "monotonic, mode": Row(
        MonotonicAttention,
        lambda: MonotonicAttention(BilinearScore(), initial_bias=0.1),
        **STEPPING,
    ),
    "monotonic, median": Row(
        MonotonicAttention,
        lambda: MonotonicAttention(BilinearScore(), inference="median"),
        **STEPPING,
    ),
    "monotonic chunkwise, mode": Row(
        MonotonicAttention,
        lambda: MonotonicAttention(BilinearScore(), 2, AdditiveScore(5), initial_bias=0.1),
        **STEPPING,
    ),
    "hard, mode": Row(
        HardAttention, lambda: HardAttention(AdditiveScore(5)), **{**ATTENTION, "without": DRAWS}
    ),
    "hard, mean, semi-sampling": Row(
        HardAttention,
        lambda: HardAttention(BilinearScore(), "mean", 0.5, normalizers.entmax15),
        **{**ATTENTION, "without": DRAWS},
    ),
    "hard, location-aware": Row(
        HardAttention,
        lambda: HardAttention(LocationAwareScore(5, 2, 3), normalizer=AlphaEntmax(1.2)),
        **{**NO_KEY, "without": DRAWS},
    ),
    "sentence, bag of words": Row(
        SentenceEmbedding, lambda: SentenceEmbedding(10, 5, position_encoding=False), **SENTENCES
    ),
    "sentence, position encoding": Row(
        SentenceEmbedding, lambda: SentenceEmbedding(10, 5), **SENTENCES
    ),
    "time words": Row(TimeWords, lambda: TimeWords(10, 7), **SENTENCES),
    "NTM, LSTM, several heads": Row(
        NTMCell,
        lambda: over_time(NTMCell(keras.layers.LSTMCell(5), 7, 3, num_reads=2, num_writes=2)),
        **MACHINE,
    ),
    "NTM, feed-forward, learned memory": Row(
        NTMCell,
        lambda: over_time(
            NTMCell(
                keras.layers.Dense(5, "tanh"),
                7,
                3,
                max_shift=2,
                memory_initializer="glorot_uniform",
                trainable_memory=True,
                initial_weighting="focused",
                shift_bias=1.0,
                gate_bias=-2.0,
            )
        ),
        **MACHINE,
    ),
    "stack": Row(StackCell, lambda: over_time(StackCell(5, 2, 4)), **MACHINE),
    "stack, keeping, recurrent": Row(
        StackCell, lambda: over_time(StackCell(5, 3, 4, keep=True, recurrent=True)), **MACHINE
    ),
    "removable softmax": Row(RemovableSoftmax, RemovableSoftmax, **NORMALIZER),
    "memory, adjacent": Row(
        MemoryAddressing, lambda: MemoryAddressing(keras.layers.Dense(Dq), 3), **MEMORY
    ),
    "memory, layer-wise": Row(
        MemoryAddressing,
        lambda: MemoryAddressing(keras.layers.Dense(Dq, use_bias=False), 2, "layer_wise"),
        **MEMORY,
    ),
    "memory, no tying": Row(
        MemoryAddressing,
        lambda: MemoryAddressing(keras.layers.Dense(Dq, use_bias=False), 2, "none"),
        **MEMORY,
    ),
    "memory, keys and values": Row(
        MemoryAddressing,
        lambda: MemoryAddressing(num_hops=2),
        **{**MEMORY, "inputs": {"query": (B, Dv), "value": (B, Tv, Dv)}},
    ),
    "feed-forward": Row(FeedForwardAttention, FeedForwardAttention, **POOLING),
    "feed-forward, hidden layer, dropping": Row(
        FeedForwardAttention,
        lambda: FeedForwardAttention(5, normalizer=normalizers.entmax15, dropout=0.3),
        **POOLING,
    ),
    "feed-forward, network": Row(
        FeedForwardAttention, lambda: FeedForwardAttention(network=concat()), **POOLING
    ),
    "cosine, alpha-entmax": Row(
        SoftAttention,
        lambda: SoftAttention(CosineScore(2.0, trainable_scale=True), AlphaEntmax(1.3)),
        **NO_KEY,
    ),
    "location-aware, both": Row(
        SoftAttention,
        lambda: SoftAttention(LocationAwareScore(7, 2, 3, "both")),
        **ATTENTION,
    ),
    "location-aware, cumulative, alpha-entmax": Row(
        SoftAttention,
        lambda: SoftAttention(
            LocationAwareScore(7, 2, 5, "cumulative", False, "he_normal"), AlphaEntmax(1.2)
        ),
        **ATTENTION,
    ),
    "cell, look then update": Row(
        AttentionCell,
        lambda: TwoSteps(AttentionCell(keras.layers.GRUCell(7), AdditiveSoftAttention(5))),
        **CELL,
    ),
    "cell, update then look": Row(
        AttentionCell,
        lambda: TwoSteps(
            AttentionCell(keras.layers.LSTMCell(7), SoftAttention(BilinearScore()), 5)
        ),
        **CELL,
    ),
    "decoder, GRU": Row(AttentionDecoder, lambda: decoder(keras.layers.GRUCell(7)), **DECODER),
    "decoder, GRU, input feeding": Row(
        AttentionDecoder,
        lambda: decoder(keras.layers.GRUCell(7, reset_after=False), attentional_units=5),
        **DECODER,
    ),
    "decoder, LSTM, input feeding": Row(
        AttentionDecoder,
        lambda: decoder(
            keras.layers.LSTMCell(7),
            SoftAttention(BilinearScore(), normalizers.sparsemax),
            attentional_units=5,
        ),
        **DECODER,
    ),
    "decoder, LSTM, nothing fed back": Row(
        AttentionDecoder,
        lambda: decoder(keras.layers.LSTMCell(7), attentional_units=5, input_feeding=False),
        **DECODER,
    ),
    "decoder, SimpleRNN": Row(
        AttentionDecoder, lambda: decoder(keras.layers.SimpleRNNCell(7)), **DECODER
    ),
    "decoder, location-aware": Row(
        AttentionDecoder,
        lambda: decoder(
            keras.layers.GRUCell(7),
            SoftAttention(LocationAwareScore(3, 2, 3, "both"), AlphaEntmax(1.3)),
        ),
        **{
            **DECODER,
            "call": with_states_in(decoded),
            "one_by_one": with_states_in(decode_one_by_one),
        },
    ),
    "decoder, stacked": Row(AttentionDecoder, lambda: decoder(stacked()), **DECODER),
    "decoder, multi-head, input feeding": Row(
        AttentionDecoder,
        lambda: decoder(
            keras.layers.GRUCell(7), MultiHeadAttention(AdditiveScore(3), 2, 5), attentional_units=3
        ),
        **DECODER,
    ),
    "decoder, monotonic window": Row(
        AttentionDecoder,
        lambda: decoder(keras.layers.GRUCell(7), LocalAttention(AdditiveScore(3), 1, "monotonic")),
        **{
            **DECODER,
            "call": with_states_in(decoded),
            "one_by_one": with_states_in(decode_one_by_one),
        },
    ),
    "decoder, monotonic": Row(
        AttentionDecoder,
        lambda: decoder(
            keras.layers.GRUCell(7),
            MonotonicAttention(AdditiveScore(3), 2, AdditiveScore(5), "mean"),
        ),
        **{
            **DECODER,
            "call": with_states_in(decoded),
            "one_by_one": with_states_in(decode_one_by_one),
        },
    ),
    "decoder, hard": Row(
        AttentionDecoder,
        lambda: decoder(
            keras.layers.GRUCell(7), HardAttention(AdditiveScore(3), semi_sampling=0.5)
        ),
        **{
            **DECODER,
            "call": with_states_in(decoded),
            "one_by_one": with_states_in(decode_one_by_one),
            "without": DRAWS,
        },
    ),
    "retina": Row(
        Retina,
        lambda: Retina(3, scales=2),
        inputs={"image": (B, 7, 5, 2), "location": (B, 2)},
        call=lambda layer, inputs: {"patches": layer(**inputs)},
        **VISION,
    ),
    "glimpse network": Row(
        GlimpseNetwork,
        lambda: GlimpseNetwork(7, hidden_units=5, dropout=0.3),
        inputs={"patches": (B, 2, 3, 3, 1), "location": (B, 2)},
        call=lambda layer, inputs: {"glimpse": layer(**inputs)},
        **VISION,
    ),
    "location sampler": Row(
        LocationSampler,
        lambda: LocationSampler(std=0.3),
        inputs={"features": (B, Tq, Dq)},
        call=lambda layer, inputs: {"location": layer(**inputs)},
        **VISION_DRAWS,
    ),
    "recurrent attention": Row(
        RecurrentAttention,
        lambda: glimpser(keras.layers.SimpleRNNCell(7, "relu"), 2, num_glimpses=3),
        inputs={"image": (B, 8, 6, 2)},
        call=glimpsed,
        **VISION_DRAWS,
    ),
    "recurrent attention, LSTM, several objects": Row(
        RecurrentAttention,
        lambda: glimpser(keras.layers.LSTMCell(7), 1, num_glimpses=2, num_objects=3),
        inputs={"image": (B, 8, 6, 1)},
        call=glimpsed,
        **VISION_DRAWS,
    ),
    "decoder, dropping, input feeding": Row(
        AttentionDecoder,
        lambda: decoder(
            keras.layers.GRUCell(7, dropout=0.2, recurrent_dropout=0.3), attentional_units=5
        ),
        **DECODER,
    ),
}
WITHOUT_ROW = {Score: "the base of all scores, which has none of its own"}


@pytest.mark.parametrize(
    ("name", "clause"),
    [
        pytest.param(name, clause, id=f"{name}-{clause.__name__}")
        for name, row in ROWS.items()
        for clause in contract.CLAUSES
        if clause.__name__ not in row.without
    ],
)
def test_layer_keeps(name, clause, tmp_path):
    if keras.backend.backend() != "tensorflow" and clause in contract.ON_TENSORFLOW:
        pytest.skip("takes gradients by TensorFlow's own means")
    contract.check_layer(ROWS[name], tmp_path, [clause])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder that holds all rows' SavedModels and their answers, and what to expect of each."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("a SavedModel is written on TensorFlow")
    folder = tmp_path_factory.mktemp("exported")
    expected = {}
    for name, row in ROWS.items():
        keras.utils.set_random_seed(17)
        (folder / name).mkdir()
        expected[name] = contract_export.export(row, folder / name)
    contract_export.serve(folder)
    return folder, expected


@pytest.mark.parametrize("name", ROWS)
def test_exported_layer_answers_alike_where_xla_is_disabled(name, exported):
    folder, expected = exported
    assert_same(contract_export.served(folder / name), expected[name])


def test_every_public_layer_has_a_row():
    public = {getattr(keras_attention, name) for name in keras_attention.__all__}
    layers = {
        each for each in public if isinstance(each, type) and issubclass(each, keras.layers.Layer)
    }
    assert layers == {row.layer for row in ROWS.values()} | WITHOUT_ROW.keys()


def test_every_clause_left_out_exists():
    known = {clause.__name__ for clause in contract.CLAUSES}
    assert all(row.without.keys() <= known for row in ROWS.values())
