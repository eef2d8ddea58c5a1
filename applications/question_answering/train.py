"""The question answering task."""

from __future__ import annotations

from applications.question_answering.config import (
    PRESETS,
    SOURCES,
    QuestionAnsweringConfig,
    QuestionAnsweringExport,
)
from applications.training.errors import DataError
from applications.training.task import Task


class QuestionAnsweringTask(Task[QuestionAnsweringConfig]):
    """Questions about stories to answers, with the sentences that each hop read."""

    name = "question_answering"
    presets = PRESETS
    sources = SOURCES
    pipeline_tag = "question-answering"
    monitor = "train_error"
    monitor_mode = "min"
    export_options = QuestionAnsweringExport

    def callbacks(self, config, datasets):
        from applications.question_answering import trainings

        return trainings.callbacks(config, datasets.facts, datasets.examples.train)

    def evaluate(self, model, datasets, config):
        from applications.question_answering import evaluation
        from applications.question_answering.answering import Answer

        return evaluation.evaluate(Answer(model, datasets.facts), datasets.examples)

    def figures(self, model, datasets, config, folder):
        from applications.question_answering import figures
        from applications.question_answering.answering import Answer

        facts, examples = datasets.facts, datasets.examples
        found = Answer(model, facts).all(examples.test)
        figures.draw(found, examples.test, examples.told, facts, folder)

    def predict(self, model, facts, config, lines):
        """Answers lines of a story, a tab and a question."""
        from applications.question_answering.answering import Answer

        answer = Answer(model, facts, QuestionAnsweringExport(num_answers=1))
        for number, line in enumerate(lines, start=1):
            columns = line.split("\t")
            if len(columns) != 2:
                raise DataError(
                    f"standard input, line {number}: expected a story, a tab and a question. "
                    f"Received: {line}"
                )
            story, question = ([column] for column in columns)
            yield answer.run(story, question)["answers"].numpy()[0, 0].decode("utf-8")

    def signatures(self, model, facts, config, options):
        from applications.question_answering import answering

        return answering.signatures(model, facts, options)

    def portable(self, model, facts, config):
        from applications.question_answering import answering

        return answering.portable(model, facts)


TASK = QuestionAnsweringTask()
