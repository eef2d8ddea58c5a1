"""Resuming a run at the epoch it had reached, bit for bit."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from applications.training import files
from applications.training.errors import UserError


class Checkpoint(keras.callbacks.Callback):
    """Writes all that the next epoch depends on after each epoch, to one file, in one step.

    That is: the weights, the states of the seed generators (which no file of Keras' own holds),
    the optimizer with its step count, the best weights so far, and the plain attributes of other
    callbacks (how long early stopping has waited, whether averaged weights are swapped in). A
    write that fails leaves the previous checkpoint as it was.

    Args:
        path: The `.npz` file.
        stopping: The `EarlyStopping` that keeps the best weights.
        others: More callbacks to restore. All of them must run before this one.
    """

    def __init__(
        self,
        path: Path,
        stopping: keras.callbacks.EarlyStopping,
        others: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        super().__init__()
        self.path = path
        self.stopping = stopping
        self.peers = [*others, stopping]
        self.finished = False
        self._peer_states: list[dict[str, Any]] | None = None
        self._best: list[np.ndarray] | None = None

    def restore(self, model: keras.Model) -> int:
        """Puts the saved state back into `model`; returns the epoch to go on with.

        0 where there is no checkpoint yet. Callbacks get theirs when training begins, as they
        forget everything at that moment.
        """
        if not self.path.exists():
            return 0
        arrays = _read(self.path)
        state = json.loads(str(arrays["state"]))
        variables_of = _variables(model)
        self._check(variables_of, arrays, state)
        for prefix, variables in variables_of.items():
            for index, variable in enumerate(variables):
                value = arrays[f"{prefix}/{index}"]
                # NumPy writes bfloat16 as two raw bytes.
                variable.assign(value.view(variable.dtype) if value.dtype.kind == "V" else value)
        self._peer_states = state["callbacks"]
        if state["has_best"]:
            self._best = [
                arrays[f"best/{index}"].view(weight.dtype)
                for index, weight in enumerate(model.get_weights())
            ]
        self.finished = state["finished"]
        return int(state["epoch"])

    def use_best_weights(self, model: keras.Model) -> None:
        """Gives `model` the best weights of a restored run that needs no more training."""
        if self._best is not None:
            model.set_weights(self._best)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._peer_states is None:
            return
        for peer, saved in zip(self.peers, self._peer_states, strict=True):
            vars(peer).update({k: v for k, v in saved.items() if _is_plain(vars(peer).get(k))})
        self.stopping.best_weights = self._best

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        arrays = {
            f"{prefix}/{index}": variable.numpy()
            for prefix, variables in _variables(self.model).items()
            for index, variable in enumerate(variables)
        }
        best = self.stopping.best_weights
        arrays |= {f"best/{index}": weight for index, weight in enumerate(best or ())}
        state = {
            "epoch": epoch + 1,
            "finished": bool(self.model.stop_training or epoch + 1 >= self.params["epochs"]),
            "has_best": best is not None,
            "callbacks": [_plain_attributes(peer) for peer in self.peers],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(self.path) as partial:
            np.savez(partial, allow_pickle=False, state=np.array(json.dumps(state)), **arrays)

    def _check(
        self, expected: dict[str, list[Any]], arrays: dict[str, np.ndarray], state: dict[str, Any]
    ) -> None:
        """Refuses, before anything is changed, a file that does not fit; it is read all or none."""
        for prefix, variables in expected.items():
            shapes = [tuple(variable.shape) for variable in variables]
            found = [arrays[name].shape for name in arrays if name.startswith(f"{prefix}/")]
            if found != shapes:
                raise UserError(
                    f"{self.path} was written by another model: expected {prefix} variables of "
                    f"shapes {shapes}. Received: {found}"
                )
        if len(state["callbacks"]) != len(self.peers):
            raise UserError(
                f"{self.path} was written with other callbacks: expected {len(self.peers)}. "
                f"Received: {len(state['callbacks'])}"
            )


def _variables(model: keras.Model) -> dict[str, list[Any]]:
    """Everything training changes: `model.variables` includes seed generators."""
    return {"model": list(model.variables), "optimizer": list(model.optimizer.variables)}


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a readable checkpoint: {error}") from error


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _plain_attributes(callback: keras.callbacks.Callback) -> dict[str, Any]:
    values = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in vars(callback).items()
    }
    return {name: value for name, value in values.items() if _is_plain(value)}
