"""Articles with highlights, such as CNN's and the Daily Mail's, by TensorFlow Datasets.

A question is a line of the highlights with one entity left out. Hermann et al. found entities by a
coreference system, which knows that the president and his name are one; here a name is what has a
capital in the article, so questions are others than theirs, and fewer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from applications.reading import names
from applications.reading.cloze import Cloze, questions
from applications.training.errors import DataError, UserError

LEAST = 1  # how often a name stands within a sentence of the article
FEATURES = ("article", "highlights")
PARTS = ["train", "validation", "test"]


def read(name: str, folder: Path | None) -> list[Iterator[Cloze]]:
    """The questions of training, validation and test, in streams."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(
            f'--data tfds: needs pip install "keras-attention-layers[data]". ({error})'
        ) from None
    try:
        loaded = tfds.load(name, split=PARTS, data_dir=folder)
    except (ValueError, tfds.core.registered.DatasetNotFoundError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"tfds:{name}: expected the splits {PARTS}. {reason}") from None
    spec = loaded[0].element_spec
    if not (isinstance(spec, dict) and set(FEATURES) <= set(spec)):
        found = ", ".join(spec) if isinstance(spec, dict) else spec
        raise DataError(f"tfds:{name}: expected the features {FEATURES}. Found: {found}")
    return [_stream(dataset) for dataset in loaded]


def _stream(dataset) -> Iterator[Cloze]:
    for example in dataset.as_numpy_iterator():
        article, highlights = (example[each].decode("utf-8", "replace") for each in FEATURES)
        yield from of_article(article, highlights)


def of_article(article: str, highlights: str) -> Iterator[Cloze]:
    """The questions of one article, whose highlights are lines."""
    sentences = names.sentences_of(article)
    known = names.names_of(sentences, LEAST)
    passage = [word for each in sentences for word in names.mark(each, known)]
    for line in highlights.splitlines():
        query = [word for each in names.sentences_of(line) for word in names.mark(each, known)]
        yield from questions(passage, query)
