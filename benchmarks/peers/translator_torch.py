"""The translator of `applications.translation.model`, as one would write it in PyTorch.

The same equations with the same sizes, in plain eager code: packed sequences into the encoder, a
Python loop over the decoder's steps. `transplant` copies the weights of ours, so that the two can
be held against each other to the last digits.

Shapes: B sentences, S and T tokens, E embedding units, U units, K hypotheses of a beam.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

PAD, START, END = range(3)


class Memory(NamedTuple):
    """What the decoder reads."""

    keys: Tensor  # (B, S, U)
    values: Tensor  # (B, S, 2 U)
    is_padding: Tensor  # (B, S)


class Translator(nn.Module):
    """RNNsearch with a deep maxout output and tied target embeddings.

    Args:
        source_size: Rows of the source embedding.
        target_size: Rows of the target embedding.
        embedding_units: E.
        units: U.
        dropout: Share of embeddings, annotations and deep output dropped in training.

    Call arguments:
        source: Ids (B, S).
        lengths: How much of each source is real, (B,).
        target: Ids (B, T), behind a start token.

    Returns:
        Logits (B, T, target_size).
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        embedding_units: int = 256,
        units: int = 256,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.source_embedding = nn.Embedding(source_size, embedding_units)
        self.target_embedding = nn.Embedding(target_size, embedding_units)
        self.encoder = nn.GRU(embedding_units, units, batch_first=True, bidirectional=True)
        self.first_state = nn.Linear(units, units)
        self.query = nn.Linear(units, units, bias=False)
        self.key = nn.Linear(2 * units, units, bias=False)
        self.score = nn.Linear(units, 1, bias=False)
        self.cell = nn.GRUCell(embedding_units + 2 * units, units)
        self.deep_output = nn.Linear(units + embedding_units + 2 * units, 2 * embedding_units)
        self.output_bias = nn.Parameter(torch.zeros(target_size))
        self.dropout = nn.Dropout(dropout)

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        memory, state = self.encode(source, lengths)
        embedded = self.dropout(self.target_embedding(target))
        states, contexts = [], []
        for now in embedded.unbind(1):
            state, context = self.step(now, state, memory)
            states.append(state)
            contexts.append(context)
        return self.logits(torch.stack(states, 1), embedded, torch.stack(contexts, 1))

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Memory, Tensor]:
        embedded = self.dropout(self.source_embedding(source))
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        packed, last = self.encoder(packed)
        values, _ = pad_packed_sequence(packed, batch_first=True, total_length=source.shape[1])
        values = self.dropout(values)
        is_padding = torch.arange(source.shape[1]) >= lengths[:, None]
        return Memory(self.key(values), values, is_padding), torch.tanh(self.first_state(last[1]))

    def step(self, embedded: Tensor, state: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """One step of N rows: embedded (N, E) and state (N, U) to the next state and context."""
        hidden = torch.tanh(self.query(state)[:, None] + memory.keys)
        scores = self.score(hidden).squeeze(-1).masked_fill(memory.is_padding, float("-inf"))
        weights = torch.softmax(scores, dim=-1)
        context = torch.bmm(weights[:, None], memory.values).squeeze(1)
        return self.cell(torch.cat([embedded, context], dim=-1), state), context

    def logits(self, states: Tensor, embedded: Tensor, contexts: Tensor) -> Tensor:
        deep = self.deep_output(torch.cat([states, embedded, contexts], dim=-1))
        deep = self.dropout(torch.maximum(*deep.chunk(2, dim=-1)))
        return functional.linear(deep, self.target_embedding.weight, self.output_bias)


class Trainer:
    """The usual training step: label smoothing, clipping by the global norm, Adam."""

    def __init__(self, model: Translator, label_smoothing: float, learning_rate: float = 1e-3):
        self.model = model.train()
        self.label_smoothing = label_smoothing
        self.optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """The mean over real tokens, of a batch of ours with its `labels`."""
        logits = self.model(batch["source"], batch["source_lengths"], batch["target"])
        return functional.cross_entropy(
            logits.flatten(0, 1),
            batch["labels"].flatten().long(),
            ignore_index=PAD,
            label_smoothing=self.label_smoothing,
        )

    def step(self, batch: dict[str, Tensor]) -> float:
        """One update; returns the loss."""
        self.optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()


@torch.inference_mode()
def beam_search(
    model: Translator,
    source: Tensor,
    lengths: Tensor,
    *,
    beam_width: int,
    max_length: int,
    length_penalty: float,
    target_size: int,
) -> list[list[int]]:
    """The best translation of each sentence, without its end, by a batched beam search.

    Those that end are ranked by log-probability over ((5 + length) / 6) ^ length_penalty (Wu et
    al., 2016, eq. 14), and the search stops once none alive is better, by the length it has. Ids
    from `target_size` on are padding of the vocabulary, and never chosen.
    """
    model.eval()
    memory, state = model.encode(source, lengths)
    memory = Memory(*(each.repeat_interleave(beam_width, 0) for each in memory))
    state = state.repeat_interleave(beam_width, 0)
    batch = torch.arange(len(source))[:, None]
    alive = torch.full((len(source), beam_width), float("-inf"))
    alive[:, 0] = 0.0
    tokens = torch.full((len(source), beam_width, 1), START)
    best: list[tuple[float, list[int]]] = [(float("-inf"), [])] * len(source)

    for length in range(1, max_length + 1):
        embedded = model.target_embedding(tokens[:, :, -1].flatten())
        state, context = model.step(embedded, state, memory)
        log_probs = torch.log_softmax(
            _allowed(model.logits(state, embedded, context), target_size), -1
        )
        totals = (log_probs.unflatten(0, (-1, beam_width)) + alive[:, :, None]).flatten(1)
        totals, places = totals.topk(2 * beam_width)  # (B, 2 K)
        parents, ids = places // log_probs.shape[-1], places % log_probs.shape[-1]
        has_ended = ids == END
        penalty = ((5 + length) / 6) ** length_penalty
        for row, place in has_ended.nonzero().tolist():
            score = totals[row, place].item() / penalty
            if score > best[row][0]:
                best[row] = (score, tokens[row, parents[row, place], 1:].tolist())
        alive, places = totals.masked_fill(has_ended, float("-inf")).topk(beam_width)
        parents = parents[batch, places]
        tokens = torch.cat([tokens[batch, parents], ids[batch, places][:, :, None]], dim=-1)
        state = state[(batch * beam_width + parents).flatten()]
        bounds = alive[:, 0] / ((5 + length + 1) / 6) ** length_penalty
        if all(bound <= score for bound, (score, _) in zip(bounds.tolist(), best, strict=True)):
            break
    return [
        ids if score > float("-inf") else tokens[row, 0, 1:].tolist()
        for row, (score, ids) in enumerate(best)
    ]


def _allowed(logits: Tensor, target_size: int) -> Tensor:
    """Logits of which nothing but real tokens and the end can be chosen."""
    logits[:, [PAD, START]] = float("-inf")
    logits[:, target_size:] = float("-inf")
    return logits


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Copies of arrays, which TensorFlow hands out read-only."""
    return {name: torch.tensor(array) for name, array in arrays.items()}


def transplant(ours, dropout: float = 0.0) -> Translator:
    """A peer with the weights of a `Translator` of ours with additive attention."""
    model = Translator(
        ours.source_embedding.input_dim,
        ours.target_embedding.input_dim,
        ours.config["embedding_units"],
        ours.config["units"],
        dropout,
    )
    score, cell = ours.decoder.cell.attention.score, ours.decoder.cell.cell
    forward, backward = ours.encoder.forward.cell, ours.encoder.backward.cell
    weights = {
        "source_embedding.weight": ours.source_embedding.embeddings,
        "target_embedding.weight": ours.target_embedding.embeddings,
        "first_state.weight": np.transpose(ours.first_state.kernel),
        "first_state.bias": ours.first_state.bias,
        "query.weight": np.transpose(score.query_kernel),
        "key.weight": np.transpose(score.key_kernel),
        "score.weight": np.asarray(score.v)[None],
        "deep_output.weight": np.transpose(ours.deep_output.kernel),
        "deep_output.bias": ours.deep_output.bias,
        "output_bias": ours.output_bias,
        **_gru("encoder.{}_l0", forward),
        **_gru("encoder.{}_l0_reverse", backward),
        **_gru("cell.{}", cell),
    }
    model.load_state_dict({name: torch.tensor(np.asarray(each)) for name, each in weights.items()})
    return model


def largest_difference(model: Translator, ours, inputs: dict[str, np.ndarray]) -> float:
    """By how much the logits of the two differ at most, padding left out."""
    given = tensors(inputs)
    with torch.inference_mode():
        theirs = model(given["source"], given["source_lengths"], given["target"]).numpy()
    real = np.cumsum(inputs["target"] == PAD, axis=1) == 0  # The loss sees no others.
    return float(np.abs(np.asarray(ours(inputs)) - theirs)[real].max())


def _gru(name: str, cell) -> dict[str, np.ndarray]:
    """A Keras GRU cell's weights under PyTorch's names, transposed, its gates in PyTorch's order.

    Keras orders them update, reset, candidate; PyTorch has the first two the other way round.
    Both let the update gate keep the old state, and both reset after multiplying.
    """

    def reorder(weights) -> np.ndarray:
        update, reset, candidate = np.split(np.asarray(weights), 3, axis=-1)
        return np.concatenate([reset, update, candidate], axis=-1)

    bias, recurrent_bias = reorder(cell.bias)
    return {
        name.format("weight_ih"): reorder(cell.kernel).T,
        name.format("weight_hh"): reorder(cell.recurrent_kernel).T,
        name.format("bias_ih"): bias,
        name.format("bias_hh"): recurrent_bias,
    }
