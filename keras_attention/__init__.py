"""Attention layers for Keras 3."""

from keras_attention import (
    addressing,
    losses,
    masking,
    migration,
    normalizers,
    score_function,
    search,
    visualization,
)
from keras_attention.attention import (
    AdditiveSoftAttention,
    Attended,
    AttentionMemory,
    DotAttention,
    SoftAttention,
)
from keras_attention.decoder import AttentionDecoder, Decoded
from keras_attention.glimpse import (
    Glimpsed,
    GlimpseNetwork,
    LocationSampler,
    RecurrentAttention,
    Retina,
)
from keras_attention.hard import HardAttention
from keras_attention.local import LocalAttention
from keras_attention.memory_addressing import (
    LinearStart,
    MemoryAddressing,
    RemovableSoftmax,
    SentenceEmbedding,
    TimeWords,
)
from keras_attention.monotonic import MonotonicAttention
from keras_attention.multi_head import MultiHeadAttention
from keras_attention.normalizers import AlphaEntmax, Sharpened
from keras_attention.ntm import NTMCell
from keras_attention.pooling import FeedForwardAttention
from keras_attention.recurrent import AttentionCell, AttentionState, AttentionStep
from keras_attention.scores import (
    AdditiveScore,
    BilinearScore,
    CosineScore,
    DotScore,
    LocationAwareScore,
    NetworkScore,
    Score,
)
from keras_attention.stack import StackCell

__version__ = "0.1.0"

__all__ = [
    "AdditiveScore",
    "AdditiveSoftAttention",
    "AlphaEntmax",
    "Attended",
    "AttentionCell",
    "AttentionDecoder",
    "AttentionMemory",
    "AttentionState",
    "AttentionStep",
    "BilinearScore",
    "CosineScore",
    "Decoded",
    "DotAttention",
    "DotScore",
    "FeedForwardAttention",
    "GlimpseNetwork",
    "Glimpsed",
    "HardAttention",
    "LinearStart",
    "LocalAttention",
    "LocationAwareScore",
    "LocationSampler",
    "MemoryAddressing",
    "MonotonicAttention",
    "MultiHeadAttention",
    "NTMCell",
    "NetworkScore",
    "RecurrentAttention",
    "RemovableSoftmax",
    "Retina",
    "Score",
    "SentenceEmbedding",
    "Sharpened",
    "SoftAttention",
    "StackCell",
    "TimeWords",
    "addressing",
    "losses",
    "masking",
    "migration",
    "normalizers",
    "score_function",
    "search",
    "visualization",
]
