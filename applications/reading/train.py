"""The reading task."""

from __future__ import annotations

from applications.reading.config import PRESETS, SOURCES, ReadingConfig, ReadingExport
from applications.training.errors import DataError
from applications.training.task import Task


class ReadingTask(Task[ReadingConfig]):
    """Passages and queries to the entity that was left out, with what was read to find it."""

    name = "reading"
    presets = PRESETS
    sources = SOURCES
    pipeline_tag = "question-answering"
    monitor = "val_accuracy"
    monitor_mode = "max"
    export_options = ReadingExport

    def callbacks(self, config, datasets):
        from applications.training import schedules

        return schedules.callbacks(config.learning_rate, config.epochs, config.average)

    def evaluate(self, model, datasets, config):
        from applications.reading import evaluation
        from applications.reading.answering import Answer

        return evaluation.evaluate(Answer(model, datasets.facts), datasets.examples.test)

    def figures(self, model, datasets, config, folder):
        from applications.reading import figures
        from applications.reading.answering import Answer

        figures.draw(Answer(model, datasets.facts), datasets.examples.told, folder)

    def predict(self, model, facts, config, lines):
        """Answers lines of a passage, a tab and a query."""
        from applications.reading.answering import Answer
        from applications.reading.cloze import PLACEHOLDER

        answer = Answer(model, facts, ReadingExport(num_answers=1))
        for number, line in enumerate(lines, start=1):
            where = f"standard input, line {number}"
            columns = line.split("\t")
            if len(columns) != 2 or PLACEHOLDER not in columns[1]:
                raise DataError(
                    f"{where}: expected a passage, a tab and a query with {PLACEHOLDER} in it. "
                    f"Received: {line}"
                )
            passage, query = ([column] for column in columns)
            found = answer.run(passage, query)["answers"].numpy()[0, 0].decode("utf-8")
            if not found:
                raise DataError(
                    f"{where}: expected entities in the passage, such as @Anna. Received: {line}"
                )
            yield found

    def signatures(self, model, facts, config, options):
        from applications.reading import answering

        return answering.signatures(model, facts, options)

    def portable(self, model, facts, config):
        from applications.reading import answering

        return answering.portable(model, facts)


TASK = ReadingTask()
