"""The long-term memory task."""

from __future__ import annotations

import json

from applications.long_term_memory.config import (
    PRESETS,
    SOURCES,
    LongTermMemoryConfig,
    LongTermMemoryExport,
)
from applications.training.errors import DataError
from applications.training.task import Task

_GREATEST = 2.0**127  # in magnitude, of the numbers of a sequence, which are float32


class LongTermMemoryTask(Task[LongTermMemoryConfig]):
    """Sequences with two marked steps to what is to be told of these."""

    name = "long_term_memory"
    presets = PRESETS
    sources = SOURCES
    monitor = "val_accuracy"
    monitor_mode = "max"
    export_options = LongTermMemoryExport

    def callbacks(self, config, datasets):
        from applications.long_term_memory.model import StopWhenSolved
        from applications.training import schedules

        if not config.decay:
            return [StopWhenSolved()]
        moving = schedules.callbacks(config.learning_rate, config.epochs, average=0.0)
        return [StopWhenSolved(), *moving]

    def evaluate(self, model, datasets, config):
        from applications.long_term_memory import evaluation

        recall = self._recall(model, datasets.facts)
        validation, test = datasets.examples
        yield "epochs_to_100_percent", _epochs_to_100_percent(config)
        yield "validation_accuracy", evaluation.accuracy(recall.all(validation), validation)
        yield from evaluation.evaluate(recall.all(test), test)

    def figures(self, model, datasets, config, folder):
        from applications.long_term_memory import figures

        first = datasets.examples.test[0]
        (found,) = self._recall(model, datasets.facts).all([first])
        figures.draw(found, first, datasets.facts, folder)

    def predict(self, model, facts, config, lines):
        """Answers sequences, each a line of JSON: a list of a number and a mark for each step."""
        import numpy as np

        recall = self._recall(model, facts)
        for number, line in enumerate(lines, start=1):
            sequence = np.array([_steps(line, number)], np.float32)
            found = recall(sequence, np.array(sequence.shape[1:2], np.int32))
            if facts.answers:
                yield found["answer"].numpy()[0].decode()
            else:
                yield f"{found['value'].numpy()[0]:.4f}"

    def signatures(self, model, facts, config, options):
        from applications.long_term_memory import recall

        return recall.signatures(model, facts, config)

    def portable(self, model, facts, config):
        from applications.long_term_memory import recall

        return recall.portable(model, facts, config)

    def _recall(self, model, facts):
        from applications.long_term_memory.recall import Recall

        return Recall(model, facts)


def _epochs_to_100_percent(config: LongTermMemoryConfig) -> int | None:
    """The first epoch after which every answer of the validation was right."""
    from applications.training import history

    for row in history.read(config.run_dir / "history.csv"):
        if float(row["val_accuracy"]) >= 1.0:
            return int(row["epoch"])
    return None


def _steps(line: str, number: int) -> list[list[float]]:
    try:
        steps = json.loads(line)
        if steps and all(len(step) == 2 and all(map(_is_finite, step)) for step in steps):
            return steps
    except (ValueError, TypeError, RecursionError):
        pass
    raise DataError(
        f"standard input, line {number}: expected a JSON list of [number, mark] for each step, "
        f"such as [[0.3, -1], [0.5, 1]]. Found: {line[:40]!r}"
    )


def _is_finite(value) -> bool:
    return type(value) in (int, float) and abs(value) <= _GREATEST


TASK = LongTermMemoryTask()
