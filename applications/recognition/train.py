"""The recognition task."""

from __future__ import annotations

from pathlib import Path

from applications.recognition.config import PRESETS, SOURCES, RecognitionConfig
from applications.training.errors import DataError
from applications.training.task import Task


class RecognitionTask(Task[RecognitionConfig]):
    """Pictures to what they show, with where they were looked at."""

    name = "recognition"
    presets = PRESETS
    sources = SOURCES
    pipeline_tag = "image-classification"
    monitor = "val_error"
    monitor_mode = "min"

    def callbacks(self, config, datasets):
        from applications.recognition.model import LowerSpread
        from applications.training import schedules

        callbacks = schedules.callbacks(config.learning_rate, config.epochs, config.average)
        if config.attention == "learned":
            stds = config.location_std, config.last_location_std
            callbacks.append(LowerSpread(*stds, config.epochs))
        return callbacks

    def evaluate(self, model, datasets, config):
        from applications.recognition import evaluation
        from applications.recognition.model import recognizer_of

        test = datasets.examples.test
        return evaluation.evaluate(recognizer_of(model), datasets.facts, test, config)

    def figures(self, model, datasets, config, folder):
        from applications.recognition import figures

        found = self._recognize(model, datasets.facts).all(datasets.examples.test.images)
        figures.draw(found, datasets.examples.test, datasets.facts, config, folder)

    def predict(self, model, facts, config, lines):
        """Tells what the image file shows that each line names."""
        import tensorflow as tf

        recognize = self._recognize(model, facts)
        for line in lines:
            try:
                pixels = recognize.decode(tf.constant([Path(line).read_bytes()]))
            except OSError as error:
                raise DataError(f"{line}: cannot be read: {error.strerror or error}") from None
            except tf.errors.InvalidArgumentError:
                raise DataError(f"{line}: expected a whole JPEG, PNG, GIF or BMP file") from None
            (labels,) = recognize.all(pixels.numpy()).labels
            yield " ".join(facts.class_names[label] for label in labels)

    def signatures(self, model, facts, config, options):
        from applications.recognition import recognize
        from applications.recognition.model import recognizer_of

        return recognize.signatures(recognizer_of(model), facts)

    def portable(self, model, facts, config):
        from applications.recognition import recognize
        from applications.recognition.model import recognizer_of

        return recognize.portable(recognizer_of(model), facts)

    def _recognize(self, model, facts):
        from applications.recognition.model import recognizer_of
        from applications.recognition.recognize import Recognize

        return Recognize(recognizer_of(model), facts)


TASK = RecognitionTask()
