"""The smallest whole task: lines of three numbers; the answer is their weighted sum."""

from __future__ import annotations

import json
from dataclasses import dataclass

from applications.training.config import TrainConfig
from applications.training.errors import DataError
from applications.training.task import Datasets, Exported, ExportOptions, Task

EXAMPLES = 22
WEIGHTS = (1.0, -2.0, 0.5)


@dataclass(frozen=True)
class TinyConfig(TrainConfig):
    """Settings of the tiny task."""

    units: int = 5
    """Hidden units."""
    dropout: float = 0.3
    """Share of hidden units dropped."""
    average: bool = False
    """Average the weights over time."""


@dataclass(frozen=True)
class TinyOptions(ExportOptions):
    """Flags of the export."""

    scale: float = 1.0
    """Factor on the answer."""


class TinyTask(Task[TinyConfig]):
    """Regression on numbers made up from the seed."""

    name = "tiny"
    presets = {
        "small": TinyConfig(epochs=4, batch_size=6, learning_rate=0.02, strategy="none"),
        "wide": TinyConfig(epochs=3, batch_size=7, units=11, strategy="none"),
    }
    export_options = TinyOptions

    def datasets(self, config, epoch):
        import numpy as np
        import tensorflow as tf

        from applications.training.data import shuffled

        if config.data_dir is not None and not config.data_dir.is_dir():
            raise DataError(f"{config.data_dir} is not a folder.")
        x = np.random.default_rng(config.seed).normal(size=(EXAMPLES, 3)).astype("float32")
        y = x @ np.array(WEIGHTS, "float32")[:, None]
        whole = tf.data.Dataset.from_tensor_slices((x, y))
        train = shuffled(whole, EXAMPLES, config.seed, epoch)
        train = train.batch(config.batch_size, drop_remainder=True).prefetch(2)
        fixed = whole.batch(config.batch_size)
        return Datasets(train, fixed, fixed, {"width": 3})

    def save_facts(self, facts, folder):
        (folder / "facts.json").write_text(json.dumps(facts))

    def load_facts(self, folder):
        return json.loads((folder / "facts.json").read_text())

    def build(self, config, facts):
        import keras

        from applications.training import updates

        model = keras.Sequential(
            [
                keras.Input((facts["width"],)),
                keras.layers.Dense(config.units, activation="tanh"),
                keras.layers.Dropout(config.dropout, seed=config.seed),
                keras.layers.Dense(1),
            ]
        )
        momentum = {"use_ema": True, "ema_momentum": 0.9} if config.average else {}
        optimizer = keras.optimizers.Adam(config.learning_rate, **momentum)
        model.compile(updates.of(optimizer, config), "mse", metrics=["mae"])
        return model

    def callbacks(self, config, datasets):
        import keras

        return [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if config.average else []

    def evaluate(self, model, datasets, config):
        results = model.evaluate(datasets.test, verbose=0, return_dict=True)
        yield "mse", results["loss"]
        yield "names", ["a", "b"]

    def figures(self, model, datasets, config, folder):
        (folder / "tiny.txt").write_text(f"{config.units} units")

    def predict(self, model, facts, config, lines):
        import numpy as np

        for line in lines:
            try:
                row = [float(word) for word in line.split()]
                answer = model(np.array([row], "float32").reshape(1, facts["width"]))
            except ValueError:
                raise DataError(f"expected {facts['width']} numbers. Received: {line}") from None
            yield f"{float(answer[0, 0]):.3f}"

    def signatures(self, model, facts, config, options):
        return Exported({"serving_default": ("signature", options.scale)}, [model])


TASK = TinyTask()
