"""Slow oracles: one loop a sum, in the order and with the letters of the papers' equations.

Everything is NumPy in float64. Shapes: Tq queries, Tv values; there is no batch axis anywhere.
"""

from __future__ import annotations

import math

import numpy as np

# Scores: how relevant is value j, with key k_j, to query i?


def additive_score(query, key, W, U, v, b=None):
    """Bahdanau et al., 2014, appendix A.1.2: a_ij = v . tanh(W q_i + U k_j), and a bias if any."""
    b = np.zeros(len(v)) if b is None else b
    return _pairs(query, key, lambda q, k: v @ np.tanh(q @ W + k @ U + b))


def dot_score(query, key, scale=1.0):
    """Luong et al., 2015, eq. 8, "dot": q_i . k_j; scaled as in Vaswani et al., 2017, eq. 1."""
    return _pairs(query, key, lambda q, k: scale * (q @ k))


def bilinear_score(query, key, W):
    """Luong et al., 2015, eq. 8, "general": q_i . W k_j, with W of shape (Dk, Dq)."""
    return _pairs(query, key, lambda q, k: q @ (k @ W))


def cosine_score(query, key, scale=1.0):
    """Graves et al., 2014, eq. 6, times the beta of eq. 5; what has no length is like nothing."""

    def score(q, k):
        lengths = math.sqrt(q @ q) * math.sqrt(k @ k)
        return scale * (q @ k) / lengths if lengths else 0.0

    return _pairs(query, key, score)


def location_aware_score(query, key, before, F, W, U, V, v, b=0.0):
    """Chorowski et al., 2015, eqs. 8 and 9, for one query (Dq,) and weights before (Tv, channels).

    F is (width, channels, filters); f_j sees the values from j - width // 2 to j + width // 2.
    """
    scores = np.zeros(len(key))
    for j in range(len(key)):
        f = np.zeros(F.shape[2])
        for offset in range(len(F)):
            near = j + offset - len(F) // 2
            if 0 <= near < len(key):
                f += before[near] @ F[offset]
        scores[j] = v @ np.tanh(query @ W + key[j] @ U + f @ V + b)
    return scores


def concat_score(query, key, W, v, b=0.0):
    """Luong et al., 2015, eq. 8, "concat": v . tanh(W [q_i ; k_j] + b)."""
    return _pairs(query, key, lambda q, k: v @ np.tanh(np.concatenate([q, k]) @ W + b))


def _pairs(query, key, score):
    return np.array([[score(q, k) for k in key] for q in query])


# Normalisers: a row of scores and a row of a mask to a row of weights.


def softmax(scores, mask=None):
    return _among_real(scores, mask, lambda z: np.exp(z - z.max()) / np.exp(z - z.max()).sum())


def sigmoid(scores, mask=None):
    return _among_real(scores, mask, lambda z: 1.0 / (1.0 + np.exp(-z)))


def smoothed(scores, mask=None):
    """Chorowski et al., 2015, section 2.3."""
    return softmax(-np.logaddexp(0.0, -np.asarray(scores, np.float64)), mask)


def sparsemax(scores, mask=None):
    """Bisects for the tau of Martins & Astudillo, 2016, proposition 1."""
    return _among_real(scores, mask, lambda z: _with_threshold(z, lambda e: e))


def entmax15(scores, mask=None):
    """Bisects for the tau of Peters et al., 2019, eq. 10, at alpha = 1.5."""
    return _among_real(scores, mask, lambda z: _with_threshold(z / 2.0, lambda e: e**2))


def alpha_entmax(scores, mask=None, alpha=1.5):
    """Bisects for the tau of Peters et al., 2019, eq. 10."""
    rate = alpha - 1.0
    return _among_real(scores, mask, lambda z: _with_threshold(rate * z, lambda e: e ** (1 / rate)))


def _with_threshold(z, weigh):
    """`weigh(max(0, z - tau))`, with the tau at which this sums to 1."""
    low, high = z.max() - 1.0, z.max()
    for _ in range(100):
        tau = (low + high) / 2.0
        if weigh(np.maximum(z - tau, 0.0)).sum() > 1.0:
            low = tau
        else:
            high = tau
    return weigh(np.maximum(z - tau, 0.0))


def _among_real(scores, mask, normalize):
    """Normalises what is real as though the rest were not there; the rest, and nothing, weigh 0."""
    scores = np.asarray(scores, np.float64)
    if scores.ndim > 1:
        masks = [None] * len(scores) if mask is None else np.broadcast_to(mask, scores.shape)
        return np.array([_among_real(*row, normalize) for row in zip(scores, masks, strict=True)])
    real = np.ones(scores.shape, bool) if mask is None else np.asarray(mask, bool)
    weights = np.zeros(scores.shape)
    if real.any():
        weights[real] = normalize(scores[real])
    return weights


def monotonic_stops(p):
    """Raffel et al., 2017, eq. 9: where each query stops, from p (Tq, Tv); first from 0."""
    alphas, before = np.zeros(p.shape), np.eye(p.shape[1])[0]
    for i in range(len(p)):
        for j in range(p.shape[1]):
            for k in range(j + 1):
                alphas[i, j] += p[i, j] * before[k] * np.prod(1.0 - p[i, k:j])
        before = alphas[i]
    return alphas


def monotonic_chunks(alpha, chosen, chunk_size, mask):
    """Chiu & Raffel, 2018, eqs. 11 to 13, and Arivazhagan et al., 2019, eq. 6 without a chunk size:
    what one query reads, by where it stops."""
    weights = np.zeros(len(alpha))
    for k in range(len(alpha)):
        first = 0 if chunk_size is None else max(0, k - chunk_size + 1)
        chunk = np.array([first <= j <= k for j in range(len(alpha))]) & mask
        scores = np.zeros(len(alpha)) if chosen is None else chosen
        weights += alpha[k] * softmax(scores, chunk)
    return weights


def read(weights, value):
    """Bahdanau et al., 2014, eq. 5: c_i = sum_j alpha_ij h_j."""
    context = np.zeros((len(weights), value.shape[1]))
    for i in range(len(weights)):
        for j in range(len(value)):
            context[i] += weights[i, j] * value[j]
    return context


# Cells: the equations of one step, for one row. Each gives its output and its new states.


def simple_rnn_step(x, states, kernel, recurrent_kernel, b):
    (h,) = states
    h = np.tanh(x @ kernel + h @ recurrent_kernel + b)
    return h, [h]


def lstm_step(x, states, kernel, recurrent_kernel, b):
    """Hochreiter & Schmidhuber, 1997, with the forget gate of Gers et al., 2000."""
    h, c = states
    W_i, W_f, W_c, W_o = np.split(kernel, 4, axis=1)
    U_i, U_f, U_c, U_o = np.split(recurrent_kernel, 4, axis=1)
    b_i, b_f, b_c, b_o = np.split(b, 4)
    i = sigmoid(x @ W_i + h @ U_i + b_i)
    f = sigmoid(x @ W_f + h @ U_f + b_f)
    o = sigmoid(x @ W_o + h @ U_o + b_o)
    c = f * c + i * np.tanh(x @ W_c + h @ U_c + b_c)
    h = o * np.tanh(c)
    return h, [h, c]


def gru_step(x, states, kernel, recurrent_kernel, b):
    """Cho et al., 2014, eqs. 5 to 8; with a bias (2, 3 units), the variant that resets last."""
    (h,) = states
    W_z, W_r, W_h = np.split(kernel, 3, axis=1)
    U_z, U_r, U_h = np.split(recurrent_kernel, 3, axis=1)
    b_in, b_rec = b if b.ndim == 2 else (b, np.zeros_like(b))
    (b_z, b_r, b_h), (d_z, d_r, d_h) = np.split(b_in, 3), np.split(b_rec, 3)
    z = sigmoid(x @ W_z + b_z + h @ U_z + d_z)
    r = sigmoid(x @ W_r + b_r + h @ U_r + d_r)
    fed_back = r * (h @ U_h + d_h) if b.ndim == 2 else (r * h) @ U_h
    h = z * h + (1.0 - z) * np.tanh(x @ W_h + b_h + fed_back)
    return h, [h]


# Decoders: `cell(x, states)` is one of the steps above, `attend(h)` gives a context and weights.


def bahdanau_step(cell, attend, x, states):
    """Bahdanau et al., 2014, section 3.1: look with s_{i-1}, then update it to s_i."""
    context, weights = attend(states[0])
    output, states = cell(np.concatenate([x, context]), states)
    return output, context, weights, states


def luong_step(cell, attend, W_c, x, states, fed):
    """Luong et al., 2015, eq. 5 and section 3.3: the attentional vector is fed back."""
    h, states = cell(np.concatenate([x, fed]), states)
    context, weights = attend(h)
    return np.tanh(np.concatenate([context, h]) @ W_c), context, weights, states


def attend(query, key, value, score, normalize, mask=None):
    """One query (Dq,) over a memory: its context (Dv,) and its weights (Tv,)."""
    weights = normalize(score(query[None], key), None if mask is None else mask[None])
    return read(weights, value)[0], weights[0]


# Derivatives


def numeric_jacobian(function, x, step=1e-6):
    """J[i, j] = d function(x)_i / d x_j by central differences, for vectors."""
    columns = []
    for j in range(len(x)):
        ahead, behind = np.array(x), np.array(x)
        ahead[j] += step
        behind[j] -= step
        columns.append((function(ahead) - function(behind)) / (2.0 * step))
    return np.stack(columns, axis=1)


def softmax_jacobian(weights):
    """diag(p) - p p^T."""
    return np.diag(weights) - np.outer(weights, weights)


def sparsemax_jacobian(weights):
    """Martins & Astudillo, 2016, eq. 11: diag(s) - s s^T / |S|, s the indicator of the support."""
    s = (weights > 0.0).astype(float)
    return np.diag(s) - np.outer(s, s) / s.sum()


def entmax15_jacobian(weights):
    """Peters et al., 2019, proposition 2: diag(s) - s s^T / sum(s), s_i = p_i^(2 - alpha)."""
    s = np.array([math.sqrt(p) for p in weights])
    return np.diag(s) - np.outer(s, s) / s.sum()


def alpha_entmax_jacobian(weights, alpha):
    """Peters et al., 2019, proposition 2, for any alpha."""
    s = np.array([p ** (2.0 - alpha) if p > 0.0 else 0.0 for p in weights])
    return np.diag(s) - np.outer(s, s) / s.sum()


def alpha_entmax_slope(weights, alpha):
    """Correia et al., 2019, proposition 1: d p_i / d alpha, at an alpha above 1."""
    s = np.array([p ** (2.0 - alpha) if p > 0.0 else 0.0 for p in weights])
    h = np.array([-p * math.log(p) if p > 0.0 else 0.0 for p in weights])
    s /= s.sum()
    return (weights - s) / (alpha - 1.0) ** 2 + (h - s * h.sum()) / (alpha - 1.0)
