"""The memory network, and what it is to be measured against."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from applications.question_answering.config import QuestionAnsweringConfig
from applications.question_answering.data import Facts
from applications.training import precision, updates
from keras_attention import MemoryAddressing, SentenceEmbedding, TimeWords
from keras_attention.compile import uses_xla

register = keras.saving.register_keras_serializable(package="keras_attention_applications")

CLIP = 40.0  # the longest gradient of a weight, of the loss summed over a batch
INITIAL_STD = 0.1


class Answered(NamedTuple):
    """What is answered, and what was read to know it."""

    logits: Any  # (B, vocabulary_size)
    weights: Any  # (B, hops, M); no hops where nothing is read


@register
class MemoryNetwork(keras.Model):
    """An end-to-end memory network (Sukhbaatar et al., 2015), or a control of it.

    With the sentences x_i of a story, each with the word of its time, and the question q:

        u_1     = B q
        p_k     = softmax_i(u_k . A_k x_i)
        u_{k+1} = u_k + sum_i p_ki C_k x_i
        answer  = softmax(C_K u_{K+1})

    with `A_1 = B` and `A_{k+1} = C_k`, sums over the embeddings of words. An answer is one word of
    the vocabulary. Places that a story leaves empty are sentences of no words, so that a hop can
    read nothing, as in the authors' program.

    Args:
        vocabulary_size: Number of words, 0 for none included.
        memory_size: M, of sentences.
        num_hops: K.
        units: Width of the embeddings.
        encoding: "position" or "bag".
        attention: "softmax"; "uniform": `p_ki` is the same for all sentences; or "none": u_1 is
            answered, by an embedding of its own.
        noise: Most blanks among the times in training, as a share of the sentences.

    Call arguments:
        inputs: A dict of `story`, integers (B, M, J), and `question`, integers (B, J).

    Returns:
        Logits (B, vocabulary_size), float32.

    Reference: https://arxiv.org/abs/1503.08895 (section 4.1).
    """

    def __init__(
        self,
        vocabulary_size: int,
        memory_size: int,
        num_hops: int = 3,
        units: int = 50,
        encoding: str = "position",
        attention: str = "softmax",
        noise: float = 0.1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.config = {
            "vocabulary_size": vocabulary_size,
            "memory_size": memory_size,
            "num_hops": num_hops,
            "units": units,
            "encoding": encoding,
            "attention": attention,
            "noise": noise,
        }
        self.attention = attention
        self.num_words = vocabulary_size
        with precision.policy(self.dtype_policy):
            self.embedding = SentenceEmbedding(
                vocabulary_size + memory_size,  # a time is a word too
                units,
                encoding == "position",
                keras.initializers.RandomNormal(stddev=INITIAL_STD),
                name="embedding",
            )
            if attention == "none":
                self.answers = SentenceEmbedding.from_config(
                    {**self.embedding.get_config(), "name": "answers"}
                )
            else:
                self.times = TimeWords(vocabulary_size, memory_size, noise)
                self.memory = MemoryAddressing(self.embedding, num_hops)

    def build(self, inputs_shape):
        sentence_length = inputs_shape["question"][-1] + 1
        units = self.config["units"]
        self.embedding.build((None, sentence_length))
        if self.attention == "none":
            self.answers.build((None, sentence_length))
        else:
            self.memory.build((None, units), (None, self.config["memory_size"], sentence_length))

    def call(self, inputs, training=False):
        return self.answer(inputs["story"], inputs["question"], training).logits

    def answer(self, story, question, training=False) -> Answered:
        """The same, with the weights of every hop."""
        # A sentence ends in its time; a question has none, but its words have their positions.
        query = self.embedding(ops.pad(question, ((0, 0), (0, 1))))
        if self.attention == "none":
            weights = ops.zeros((ops.shape(story)[0], 0, self.config["memory_size"]))
            return Answered(self._logits(query, self.answers), weights)
        timed = self.times(story, training=training)
        if self.attention == "uniform":
            query, weights = self._mean(query, timed)
        else:
            # Empty places count too, with a score of 0: a hop may read nothing.
            places = ops.ones(ops.shape(timed)[:2], "bool")
            query, weights = self.memory(
                query, timed, memory_mask=places, return_attention_scores=True
            )
        logits = self._logits(query, self.memory.contents[-1])
        return Answered(logits, ops.cast(weights, "float32"))

    def _mean(self, query, story):
        """What hops do whose weights are all the same."""
        is_said = ops.cast(ops.any(story != 0, axis=-1), query.dtype)
        weights = is_said / ops.maximum(ops.sum(is_said, axis=1, keepdims=True), 1.0)
        for content in self.memory.contents:
            query = query + ops.einsum("bn,bnd->bd", weights, content(story))
        return query, ops.repeat(weights[:, None], self.config["num_hops"], axis=1)

    def _logits(self, query, embedding):
        """The words of the vocabulary, and not the times."""
        table = ops.cast(embedding.embeddings, query.dtype)[: self.num_words]
        return ops.cast(ops.matmul(query, ops.transpose(table)), precision.of_losses())

    def get_config(self):
        return {**super().get_config(), **self.config}


@register
class DenseSGD(keras.optimizers.SGD):
    """Gradient descent that measures the gradient of an embedding as that of any other weight.

    A word that occurs twice in a batch has two rows in the sparse gradient that TensorFlow makes,
    and by these its length would be taken.
    """

    def apply(self, grads, trainable_variables=None):
        return super().apply([tf.convert_to_tensor(each) for each in grads], trainable_variables)


def build(config: QuestionAnsweringConfig, facts: Facts) -> MemoryNetwork:
    """The memory network of a run, compiled for training."""
    model = MemoryNetwork(
        facts.tokenizer.size,
        facts.memory_size,
        num_hops=config.num_hops,
        units=config.units,
        encoding=config.encoding,
        attention=config.attention,
        noise=config.noise,
    )
    story = np.zeros((1, facts.memory_size, facts.num_words), np.int32)
    model({"story": story, "question": story[:, 0]})
    # The paper sums the loss over a batch, Keras takes the mean: the step and the clipping make up.
    size = config.batch_size * config.accumulate
    optimizer = DenseSGD(config.learning_rate * size, clipnorm=CLIP / size)
    model.compile(
        updates.of(optimizer, config),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.MeanMetricWrapper(wrong_answer, name="error")],
        jit_compile=uses_xla(training=True) and not tf.distribute.has_strategy(),
    )
    return model


@register
def wrong_answer(answers, logits):
    """1 where the most probable word is not the answer, else 0."""
    told = ops.argmax(logits, axis=-1)
    return ops.cast(told != ops.cast(answers, told.dtype), "float32")


def initialize(model: MemoryNetwork, seed: int, training: int) -> None:
    """Draws the weights that training number `training` starts from."""
    rng = np.random.default_rng([seed, training])
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0.0, INITIAL_STD, variable.shape))
