"""Tokenizers: strings to ids and back, by TensorFlow operations only.

One code path serves training, evaluation and the exported model, which therefore takes and returns
plain strings. Words and characters need core operations; subwords need those of tensorflow-text,
which TensorFlow Serving has too. Ids 0 to 3 mean the same in every tokenizer.

Any bytes are accepted: what is not UTF-8 becomes U+FFFD, and what is not in the vocabulary
becomes the unknown token.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow as tf

from applications.training import files
from applications.training.errors import UserError

PAD, START, END, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")


class Tokenizer(tf.Module):
    """The base of all tokenizers, never used by itself."""

    kind: str
    size: int  # of the vocabulary, special tokens included

    def encode(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Strings (B,) to ids (B, ragged) int32, without start and end tokens."""
        raise NotImplementedError

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids (B, T) to strings (B,), the special tokens left out."""
        raise NotImplementedError

    def tokens(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids of any shape to the strings they stand for; padding becomes the empty string."""
        raise NotImplementedError

    def save(self, folder: Path, name: str) -> None:
        """Writes the tokenizer to `folder`, to be read by `load(folder, name)`."""
        raise NotImplementedError


class VocabularyTokenizer(Tokenizer):
    """Words or characters, looked up in a list.

    Args:
        kind: "words", split at spaces and around punctuation, or "characters".
        vocabulary: The tokens, most frequent first, without special ones.
        lowercase: Whether text is lower-cased first.
    """

    def __init__(self, kind: str, vocabulary: Sequence[str], lowercase: bool):
        super().__init__()
        self.kind, self.lowercase, self.vocabulary = kind, lowercase, list(vocabulary)
        entries = [*SPECIAL, *vocabulary]
        self.size = len(entries)
        self._entries = tf.constant(["", *entries[1:]])
        self._table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(entries[UNKNOWN:]), tf.range(UNKNOWN, self.size)
            ),
            default_value=UNKNOWN,
        )

    @classmethod
    def train(
        cls, kind: str, sentences: Sequence[str], size: int, lowercase: bool
    ) -> VocabularyTokenizer:
        """A vocabulary of at most `size` entries: the most frequent tokens of `sentences`."""
        untrained = cls(kind, [], lowercase)
        counts: Counter[bytes] = Counter()
        for batch in _batches(sentences):
            counts.update(untrained.split(tf.constant(batch)).flat_values.numpy().tolist())
        # Ties are broken by spelling, so that a vocabulary depends on nothing but the text.
        ranked = sorted(counts, key=lambda token: (-counts[token], token))
        kept = [token.decode("utf-8") for token in ranked if token.decode("utf-8") not in SPECIAL]
        return cls(kind, kept[: size - len(SPECIAL)], lowercase)

    def split(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Strings (B,) to tokens (B, ragged)."""
        strings = clean(strings, self.lowercase)
        if self.kind == "characters":
            return tf.strings.unicode_split(strings, "UTF-8")
        return tf.strings.split(tf.strings.regex_replace(strings, r"([\p{P}\p{S}])", r" \1 "))

    def encode(self, strings: tf.Tensor) -> tf.RaggedTensor:
        tokens = self.split(strings)
        return tokens.with_flat_values(self._table.lookup(tokens.flat_values))

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        shown = tf.where(ids >= UNKNOWN, tf.gather(self._entries, ids), "")
        if self.kind == "characters":
            return tf.strings.reduce_join(shown, axis=-1)
        text = tf.strings.reduce_join(shown, axis=-1, separator=" ")
        text = tf.strings.regex_replace(text, r"\s+", " ")
        text = tf.strings.regex_replace(text, r" ([.,;:!?%)\]}»”])", r"\1")
        text = tf.strings.regex_replace(text, r"([(\[{«„]) ", r"\1")
        text = tf.strings.regex_replace(text, r"(\w) (['’\-]) (\w)", r"\1\2\3")
        return tf.strings.strip(text)

    def tokens(self, ids: tf.Tensor) -> tf.Tensor:
        return tf.gather(self._entries, ids)

    def save(self, folder: Path, name: str) -> None:
        document = {
            "kind": self.kind,
            "lowercase": self.lowercase,
            "vocabulary": self.vocabulary,
        }
        files.write_text(
            folder / f"{name}.json", json.dumps(document, ensure_ascii=False, indent=0) + "\n"
        )


class SubwordTokenizer(Tokenizer):
    """Subwords by sentencepiece, in the graph by tensorflow-text.

    Args:
        model: A serialised sentencepiece model, as `train` makes it.
        lowercase: Whether text is lower-cased first.

    Reference: Kudo & Richardson, 2018, SentencePiece, https://arxiv.org/abs/1808.06226.
    """

    kind = "subwords"

    def __init__(self, model: bytes, lowercase: bool):
        super().__init__()
        self.model, self.lowercase = model, lowercase
        self._pieces = _tensorflow_text().SentencepieceTokenizer(model)
        self.size = int(self._pieces.vocab_size())

    @classmethod
    def train(cls, sentences: Sequence[str], size: int, lowercase: bool) -> SubwordTokenizer:
        """Byte-pair encoding with at most `size` entries, learned from `sentences`."""
        import io

        _tensorflow_text()  # before the work, not after
        import sentencepiece

        def cleaned() -> Iterator[bytes]:
            for batch in _batches(sentences):
                yield from clean(tf.constant(batch), lowercase).numpy().tolist()

        written = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=cleaned(),
            model_writer=written,
            model_type="bpe",
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            pad_id=PAD,
            bos_id=START,
            eos_id=END,
            unk_id=UNKNOWN,
            num_threads=1,  # the result must not depend on the machine
            minloglevel=2,
        )
        return cls(written.getvalue(), lowercase)

    def encode(self, strings: tf.Tensor) -> tf.RaggedTensor:
        return self._pieces.tokenize(clean(strings, self.lowercase))

    def sample(self, sentences: Sequence[str], dropout: float, seed: int) -> list[list[int]]:
        """Ids of each sentence, cut anew: every merge of two subwords fails by chance.

        The cuts follow from the arguments alone. To train on other cuts in every epoch makes a
        translator of few sentences far better, since it comes to know the parts of its words.

        Args:
            sentences: Strings.
            dropout: Probability that a merge fails: 0 gives what `encode` gives, 1 characters.
            seed: Which cuts; from 0 to 2**32 - 1.

        Reference: Provilkov, Emelianenko & Voita, 2020, BPE-Dropout,
        https://arxiv.org/abs/1910.13267 (section 3).
        """
        import sentencepiece

        pieces = sentencepiece.SentencePieceProcessor(model_proto=self.model)
        cleaned = [
            line.decode("utf-8")
            for batch in _batches(sentences)
            for line in clean(tf.constant(batch), self.lowercase).numpy()
        ]
        # A thread of the pool takes the seed as it starts, so one thread gives one result.
        sentencepiece.set_random_generator_seed(seed)
        return pieces.encode(cleaned, enable_sampling=True, alpha=dropout, num_threads=1)

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        real = tf.ragged.boolean_mask(ids, ids > UNKNOWN)
        return self._pieces.detokenize(tf.cast(real, tf.int32))

    def tokens(self, ids: tf.Tensor) -> tf.Tensor:
        return tf.where(ids == PAD, "", self._pieces.id_to_string(tf.cast(ids, tf.int32)))

    def save(self, folder: Path, name: str) -> None:
        files.write_bytes(folder / f"{name}.model", self.model)
        document = {"kind": self.kind, "lowercase": self.lowercase}
        files.write_text(folder / f"{name}.json", json.dumps(document) + "\n")


def train(kind: str, sentences: Sequence[str], size: int, lowercase: bool) -> Tokenizer:
    """A tokenizer of the given kind: "words", "subwords" or "characters"."""
    if kind == "subwords":
        return SubwordTokenizer.train(sentences, size, lowercase)
    return VocabularyTokenizer.train(kind, sentences, size, lowercase)


def load(folder: Path, name: str) -> Tokenizer:
    """Reads what `Tokenizer.save` wrote."""
    document = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    if document["kind"] == "subwords":
        model = (folder / f"{name}.model").read_bytes()
        return SubwordTokenizer(model, document["lowercase"])
    return VocabularyTokenizer(document["kind"], document["vocabulary"], document["lowercase"])


def clean(strings: tf.Tensor, lowercase: bool) -> tf.Tensor:
    """Strings as valid UTF-8 with no space around them, lower-cased if wanted."""
    strings = tf.strings.unicode_transcode(strings, "UTF-8", "UTF-8", errors="replace")
    strings = tf.strings.strip(strings)
    return tf.strings.lower(strings, encoding="utf-8") if lowercase else strings


def _batches(sentences: Sequence[str], size: int = 4096) -> Iterator[Sequence[str]]:
    for start in range(0, len(sentences), size):
        yield sentences[start : start + size]


def _tensorflow_text():
    try:
        import tensorflow_text
    except ImportError as error:
        raise UserError(
            'Subwords need tensorflow-text and sentencepiece: pip install "keras-attention-layers'
            f'[text]". ({error})'
        ) from None
    return tensorflow_text
