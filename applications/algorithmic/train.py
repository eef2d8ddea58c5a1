"""The algorithmic task."""

from __future__ import annotations

from applications.algorithmic.config import PRESETS, SOURCES, AlgorithmicConfig, AlgorithmicExport
from applications.training.errors import DataError
from applications.training.task import Task


class AlgorithmicTask(Task[AlgorithmicConfig]):
    """Sequences to what an algorithm makes of them, by a machine that has to find it."""

    name = "algorithmic"
    presets = PRESETS
    sources = SOURCES
    export_options = AlgorithmicExport

    def callbacks(self, config, datasets):
        from applications.training import schedules

        return schedules.callbacks(config.learning_rate, config.epochs, average=0.0)

    def evaluate(self, model, datasets, config):
        from applications.algorithmic import evaluation

        return evaluation.evaluate(model, datasets.facts, datasets.examples)

    def figures(self, model, datasets, config, folder):
        from applications.algorithmic import figures
        from applications.algorithmic.solve import serving

        solve = serving(model, datasets.facts, config)
        figures.draw(solve, datasets.facts, datasets.examples, config, folder)

    def predict(self, model, facts, config, lines):
        """Answers lines of vectors, or tells the symbol after each of a line."""
        from applications.algorithmic.problems import PROBLEMS
        from applications.algorithmic.solve import answer, serving

        solve = serving(model, facts, config)
        for number, line in enumerate(lines, start=1):
            try:
                yield answer(solve, config, line)
            except ValueError:
                raise DataError(
                    f"standard input, line {number}: expected {PROBLEMS[config.problem].line}. "
                    f"Received: {line[:60]}"
                ) from None

    def signatures(self, model, facts, config, options):
        from applications.algorithmic import solve

        return solve.signatures(model, facts, config)

    def portable(self, model, facts, config):
        from applications.algorithmic import solve

        return solve.portable(model, facts, config)


TASK = AlgorithmicTask()
