"""Resuming a run at the step it had reached, bit for bit."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from applications.training import checksums, console, files
from applications.training.errors import UserError
from applications.training.history import HistoryFile
from applications.training.loop import Position, results

KEPT = 2  # checkpoints, so that there is one if the newest is damaged
PATTERN = "epoch_*_step_*.npz"


class Checkpoint(keras.callbacks.Callback):
    """Writes all that the next step depends on, after each epoch and every so many steps of it.

    That is: the weights, the states of the seed generators (which no file of Keras' own holds),
    the optimizer with its step count and loss scale, the metrics of the epoch so far, the best
    weights so far, and the plain attributes of other callbacks (how long early stopping has waited,
    whether averaged weights are swapped in). Each checkpoint is a file of its own; the last two are
    kept.

    Args:
        folder: Where the `.npz` files are.
        stopping: The `EarlyStopping` that keeps the best weights.
        history: Whose count of seconds is kept too.
        others: More callbacks to restore. All of them must run before this one.
        steps: After how many steps of an epoch to write as well; 0: after epochs only.
        writes: Whether this process is the one that writes.
    """

    def __init__(
        self,
        folder: Path,
        stopping: keras.callbacks.EarlyStopping,
        history: HistoryFile,
        others: Sequence[keras.callbacks.Callback] = (),
        *,
        steps: int = 0,
        writes: bool = True,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.stopping = stopping
        self.history = history
        self.peers = [*others, stopping]
        self.steps = steps
        self.writes = writes
        self._read: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None
        self._epoch, self._done = 0, 0

    def read(self, model: keras.Model) -> Position:
        """Reads the newest good checkpoint, and names those that are damaged.

        Its state is put back once training begins, as callbacks forget everything at that moment,
        and change much at the beginning of an epoch.
        """
        found = sorted(self.folder.glob(PATTERN), reverse=True)
        for path in found:
            try:
                arrays = _arrays(path)
                state = json.loads(str(arrays["state"]))
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                self._set_aside(path, error)
                continue
            self._check(path, model, arrays, state)
            self._read = arrays, state
            return _position(state)
        if found:
            raise UserError(f"{self.folder} holds no checkpoint that is not damaged.")
        return Position()

    @property
    def finished(self) -> bool:
        """Whether what was read needs no more training."""
        return self._read is not None and self._read[1]["finished"]

    def use_best_weights(self, model: keras.Model) -> None:
        """Gives `model` the weights that a run ended with, which was read and needs no more
        training: the best, or the last where none were kept."""
        assert self._read is not None
        arrays, state = self._read
        if state["has_best"]:
            model.set_weights(_best_weights(model, arrays))
        else:
            _assign(model.variables, "model", arrays)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._read is not None and self._read[1]["step"] == 0:
            self._restore()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch, self._done = epoch, 0
        if self._read is not None:
            self._done = self._read[1]["step"]
            self._restore()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        before, self._done = self._done, batch + 1
        if self.steps and self._done // self.steps > before // self.steps:
            results(self.model)  # Raises, rather than to keep what is no number.
            self._save(Position(self._epoch, self._done))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        finished = bool(self.model.stop_training or epoch + 1 >= self.params["epochs"])
        self._save(Position(epoch + 1), finished)

    def _save(self, position: Position, finished: bool = False) -> None:
        arrays = {
            f"{prefix}/{index}": variable.numpy()
            for prefix, variables in _variables(self.model, position).items()
            for index, variable in enumerate(variables)
        }
        if not self.writes:  # Reading alone is something that all workers do together.
            return
        best = self.stopping.best_weights
        arrays |= {f"best/{index}": weight for index, weight in enumerate(best or ())}
        state = {
            **position._asdict(),
            "seconds": self.history.elapsed if position.step else 0.0,
            "finished": finished,
            "has_best": best is not None,
            "callbacks": [_plain_attributes(peer) for peer in self.peers],
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"epoch_{position.epoch:06}_step_{position.step:09}.npz"
        with files.replacing(path) as partial:
            np.savez(partial, allow_pickle=False, state=np.array(json.dumps(state)), **arrays)
        for old in sorted(self.folder.glob(PATTERN))[:-KEPT]:
            files.delete(old)

    def _set_aside(self, path: Path, error: Exception) -> None:
        """A damaged file is not to be counted among those that are kept."""
        aside = path.with_name(f"damaged_{path.name}")
        if self.writes:
            files.rename(path, aside)
        console.complain(f"{path} is damaged ({error}), and is now {aside.name}; left out.")

    def _restore(self) -> None:
        assert self._read is not None
        arrays, state = self._read
        self._read = None
        for prefix, variables in _variables(self.model, _position(state)).items():
            _assign(variables, prefix, arrays)
        for peer, saved in zip(self.peers, state["callbacks"], strict=True):
            vars(peer).update({k: v for k, v in saved.items() if _is_plain(vars(peer).get(k))})
        self.stopping.best_weights = (
            _best_weights(self.model, arrays) if state["has_best"] else None
        )
        self.history.begin_earlier(state["seconds"])

    def _check(
        self, path: Path, model: keras.Model, arrays: dict[str, np.ndarray], state: dict[str, Any]
    ) -> None:
        """Refuses, before anything is changed, a file that does not fit; it is read all or none."""
        for prefix, variables in _variables(model, _position(state)).items():
            shapes = [tuple(variable.shape) for variable in variables]
            found = [arrays[name].shape for name in arrays if name.startswith(f"{prefix}/")]
            if found != shapes:
                raise UserError(
                    f"{path} was written by another model: expected {prefix} variables of "
                    f"shapes {shapes}. Received: {found}"
                )
        if len(state["callbacks"]) != len(self.peers):
            raise UserError(
                f"{path} was written with other callbacks: expected {len(self.peers)}. "
                f"Received: {len(state['callbacks'])}"
            )


def _variables(model: keras.Model, position: Position) -> dict[str, list[Any]]:
    """Everything training changes: `model.variables` includes seed generators.

    Metrics count within an epoch only; before the next they begin anew.
    """
    variables = {"model": list(model.variables), "optimizer": list(model.optimizer.variables)}
    if position.step:
        variables["metrics"] = list(model.metrics_variables)
    return variables


def _assign(variables: list[Any], prefix: str, arrays: dict[str, np.ndarray]) -> None:
    for index, variable in enumerate(variables):
        variable.assign(_as(arrays[f"{prefix}/{index}"], variable.dtype))


def _position(state: dict[str, Any]) -> Position:
    return Position(state["epoch"], state["step"])


def _best_weights(model: keras.Model, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    weights = model.get_weights()
    return [_as(arrays[f"best/{index}"], weight.dtype) for index, weight in enumerate(weights)]


def _as(value: np.ndarray, dtype: Any) -> np.ndarray:
    """`value`, as NumPy read it: it writes bfloat16 as two raw bytes."""
    return value.view(dtype) if value.dtype.kind == "V" else value


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if not checksums.is_good(path):
        raise ValueError("its checksum is another.")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _plain_attributes(callback: keras.callbacks.Callback) -> dict[str, Any]:
    values = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in vars(callback).items()
    }
    return {name: value for name, value in values.items() if _is_plain(value)}
