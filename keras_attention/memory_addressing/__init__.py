"""Memory networks: attention in which what is compared and what is read are embedded apart."""

from keras_attention.memory_addressing.encoding import SentenceEmbedding, TimeWords
from keras_attention.memory_addressing.hops import MemoryAddressing
from keras_attention.memory_addressing.linear_start import LinearStart, RemovableSoftmax

__all__ = [
    "LinearStart",
    "MemoryAddressing",
    "RemovableSoftmax",
    "SentenceEmbedding",
    "TimeWords",
]
