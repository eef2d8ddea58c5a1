"""The translation task."""

from __future__ import annotations

from applications.training.task import Task
from applications.translation.config import (
    MONOTONIC,
    PRESETS,
    SOURCES,
    TranslationConfig,
    TranslationExport,
)


class TranslationTask(Task[TranslationConfig]):
    """Sentences to sentences, with the alignment that the decoder found."""

    name = "translation"
    packages = ("sacrebleu", "jiwer")
    presets = PRESETS
    sources = SOURCES
    not_portable = "tf2onnx does not convert the loop of its search, and LiteRT has none like it."
    pipeline_tag = "translation"
    monitor = "val_chrf"
    monitor_mode = "max"
    export_options = TranslationExport

    def monitored(self, config):
        if config.data == "cmudict":
            return "val_phone_error_rate", "min"
        return super().monitored(config)

    def callbacks(self, config, datasets):
        from applications.training import schedules
        from applications.translation.evaluation import TranslateValidation

        callbacks = schedules.callbacks(config.learning_rate, config.epochs, config.average)
        validation = datasets.examples.validation
        if config.attention in MONOTONIC:
            noise = (*config.pre_sigmoid_noise, config.epochs)
            callbacks.append(schedules.growing(lambda model: model.noise_level, *noise))
        return [*callbacks, TranslateValidation(datasets.facts, validation, config)]

    def evaluate(self, model, datasets, config):
        from applications.translation import evaluation

        pairs = datasets.examples.test
        found = self._translate_test(model, datasets, config)
        yield from evaluation.evaluate(found, pairs, config)
        if config.attention in MONOTONIC:  # Does stopping for good cost anything?
            found = self._translate_test(model.by_mean(), datasets, config)
            for name, value in evaluation.evaluate(found, pairs, config):
                if isinstance(value, float):
                    yield f"{name}_by_mean", value

    def figures(self, model, datasets, config, folder):
        from applications.translation import figures

        found = self._translate_test(model, datasets, config)
        figures.draw(found, datasets.examples.test, config, folder)

    def predict(self, model, facts, config, lines):
        translate = self._translator(model, facts, config)
        for line in lines:
            yield translate.all([line])[0].translation

    def signatures(self, model, facts, config, options):
        from applications.translation import served

        return served.signatures(model, facts, options)

    def _translate_test(self, model, datasets, config):
        sentences = [pair.source for pair in datasets.examples.test]
        return self._translator(model, datasets.facts, config).all(sentences)

    def _translator(self, model, facts, config):
        from applications.translation.translate import Translate

        options = TranslationExport(
            beam_width=config.beam_width,
            length_penalty=config.length_penalty,
            max_length=config.max_length,
        )
        return Translate(model, facts, options)


TASK = TranslationTask()
