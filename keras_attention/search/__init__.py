"""Search for the sequences that a step function makes probable: greedily, by sampling, or by beam.

A search knows no layer. It asks one function, one step at a time:

    step(ids, state) -> (log_probs, state, weights)

`ids` (N,) int32 are the last tokens of N rows: of one for each of B sentences, or of as many
hypotheses of each, side by side: row = sentence * N / B + hypothesis. `log_probs` (N, V) are
normalised over the vocabulary, -inf where a token is banned, never NaN. `weights` (N, Tv) are the
attention weights of this step, (N, 0) where there are none. `state` is any tree of tensors with
leading axis N: a search is given the state of one row a sentence, repeats it, and re-orders it from
step to step. What does not change during a search is neither repeated nor moved: it belongs in the
closure of `step` or, if there is a row of it for each sentence, in `memory`, such as the memory
that attention reads. Given one, a search asks

    step(ids, state, memory) -> (log_probs, state, weights)

and the rows of the memory are those of the sentences that `ids` belong to. In a graph that
knows no batch size (TensorFlow's, as in a SavedModel) a search goes on with fewer sentences as some
are done, so that a batch costs what its sentences need, not all of them what the longest does.

The searches run eagerly, in a `tf.function` of unknown sizes, under XLA where all sizes are Python
integers, and in a SavedModel, from TensorFlow's core operations only.
"""

from keras_attention.search.beam import beam_search
from keras_attention.search.rollout import greedy_search, sample_search
from keras_attention.search.step import Hypotheses

__all__ = ["Hypotheses", "beam_search", "greedy_search", "sample_search"]
