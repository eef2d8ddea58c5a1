"""Learning curves from history.csv."""

from __future__ import annotations

import csv
from pathlib import Path

from applications.training import files


def learning_curve(history: Path, figure: Path) -> None:
    """Draws every quantity of `history`, training beside validation, into the PNG `figure`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with history.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [name for name in rows[0] if name not in ("epoch", "seconds")]
    names = [name for name in columns if not (name[:4] == "val_" and name[4:] in columns)]
    drawing = Figure(figsize=(4.5 * len(names), 3.4), layout="constrained")
    FigureCanvasAgg(drawing)
    epochs = [int(row["epoch"]) for row in rows]
    for axes, name in zip(drawing.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for column, label in ((name, "training"), (f"val_{name}", "validation")):
            if column in columns:
                values = [float(row[column] or "nan") for row in rows]
                axes.plot(epochs, values, label=label, marker="." if len(rows) < 30 else None)
        axes.set(title=name.replace("_", " "), xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    with files.replacing(figure) as partial:
        drawing.savefig(partial, dpi=120)
