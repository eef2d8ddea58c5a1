"""The speech task."""

from __future__ import annotations

from pathlib import Path

from applications.speech.config import MONOTONIC, PRESETS, SOURCES, SpeechConfig, SpeechExport
from applications.training.task import Task


class SpeechTask(Task[SpeechConfig]):
    """Recordings to transcripts, with where each token was heard."""

    name = "speech"
    packages = ("jiwer",)
    presets = PRESETS
    sources = SOURCES
    not_portable = "tf2onnx does not convert the loop of its search, and LiteRT has none like it."
    pipeline_tag = "automatic-speech-recognition"
    monitor = "val_error_rate"
    export_options = SpeechExport

    def callbacks(self, config, datasets):
        from applications.speech.evaluation import TranscribeValidation
        from applications.training import schedules

        callbacks = schedules.callbacks(config.learning_rate, config.epochs, config.average)
        validation = datasets.examples.validation
        if config.attention in MONOTONIC:
            noise = (*config.pre_sigmoid_noise, config.epochs)
            callbacks.append(schedules.growing(lambda model: model.noise_level, *noise))
        return [*callbacks, TranscribeValidation(datasets.facts, validation, config)]

    def evaluate(self, model, datasets, config):
        from applications.speech import evaluation

        recognize = self._recognizer(model, datasets.facts, config)
        return evaluation.evaluate(recognize, datasets.examples, config)

    def figures(self, model, datasets, config, folder):
        from applications.speech import figures

        recognize = self._recognizer(model, datasets.facts, config)
        figures.draw(recognize, datasets.examples, folder)

    def predict(self, model, facts, config, lines):
        """Transcribes the WAV file that each line names."""
        from applications.speech import wav

        recognize = self._recognizer(model, facts, config)
        for line in lines:
            audio = wav.read(Path(line), facts.heard.sample_rate)
            yield recognize.all([audio])[0].text

    def signatures(self, model, facts, config, options):
        from applications.speech import recognize

        return recognize.signatures(model, facts, options)

    def _recognizer(self, model, facts, config):
        from applications.speech.recognize import Recognize

        options = SpeechExport(beam_width=config.beam_width, length_penalty=config.length_penalty)
        return Recognize(model, facts, options)


TASK = SpeechTask()
