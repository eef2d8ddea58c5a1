"""Attention layers for Keras 3."""

from keras_attention import masking, normalizers, search, visualization
from keras_attention.attention import (
    AdditiveSoftAttention,
    Attended,
    AttentionMemory,
    DotAttention,
    SoftAttention,
)
from keras_attention.decoder import AttentionDecoder, Decoded
from keras_attention.recurrent import AttentionCell, AttentionState, AttentionStep
from keras_attention.scores import AdditiveScore, BilinearScore, DotScore, NetworkScore, Score

__version__ = "0.1.0"

__all__ = [
    "AdditiveScore",
    "AdditiveSoftAttention",
    "Attended",
    "AttentionCell",
    "AttentionDecoder",
    "AttentionMemory",
    "AttentionState",
    "AttentionStep",
    "BilinearScore",
    "Decoded",
    "DotAttention",
    "DotScore",
    "NetworkScore",
    "Score",
    "SoftAttention",
    "masking",
    "normalizers",
    "search",
    "visualization",
]
