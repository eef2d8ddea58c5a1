"""The captioning task."""

from __future__ import annotations

from pathlib import Path

from applications.captioning.config import PRESETS, SOURCES, CaptioningConfig, CaptioningExport
from applications.training.task import Task


class CaptioningTask(Task[CaptioningConfig]):
    """Pictures to sentences, with what each word looked at."""

    name = "captioning"
    presets = PRESETS
    sources = SOURCES
    not_portable = "tf2onnx does not convert the loop of its search, and LiteRT has none like it."
    pipeline_tag = "image-to-text"
    monitor = "val_cider_d"
    monitor_mode = "max"
    export_options = CaptioningExport

    def callbacks(self, config, datasets):
        from applications.captioning.evaluation import DescribeValidation
        from applications.training import schedules

        callbacks = schedules.callbacks(config.learning_rate, config.epochs, config.average)
        validation = datasets.examples.validation
        return [*callbacks, DescribeValidation(datasets.facts, validation, config)]

    def evaluate(self, model, datasets, config):
        from applications.captioning import evaluation

        found = self._describer(model, datasets.facts, config).all(datasets.examples.test.arrays)
        return evaluation.evaluate(found, datasets.examples)

    def figures(self, model, datasets, config, folder):
        from applications.captioning import figures

        test = datasets.examples.test
        found = self._describer(model, datasets.facts, config).all(test.arrays[: len(test.shown)])
        figures.draw(found, test, folder)

    def predict(self, model, facts, config, lines):
        """Captions the image file that each line names."""
        from applications.captioning import pictures
        from applications.captioning.sources import Source

        describe = self._describer(model, facts, config)
        for line in lines:
            path = Path(line)
            image = pictures.pixels(Source(line, path.read_bytes, ()), facts.pictures)
            yield describe.all(facts.pictures.encode(image))[0].caption

    def signatures(self, model, facts, config, options):
        from applications.captioning import caption
        from applications.captioning.model import captioner_of

        return caption.signatures(captioner_of(model), facts, options)

    def _describer(self, model, facts, config):
        from applications.captioning.caption import Describe
        from applications.captioning.model import captioner_of

        options = CaptioningExport(
            beam_width=config.beam_width,
            length_penalty=config.length_penalty,
            max_length=config.max_length,
        )
        return Describe(captioner_of(model), facts, options)


TASK = CaptioningTask()
