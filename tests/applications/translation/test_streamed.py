"""Training pairs larger than memory: every epoch its part, and no more held than is said."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from applications import cli
from applications.training.data import epoch_counter
from applications.training.errors import UserError
from applications.translation import data, streamed
from applications.translation.config import TranslationConfig
from applications.translation.encoded import Most

NUMBER = 53  # of pairs


def pairs():
    for index in range(NUMBER):
        yield f"{'a ' * (index % 5)}s{index}", f"t{index}{' b' * (index % 3)}"


@pytest.fixture
def config(tmp_path):
    (tmp_path / "train.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in pairs()))
    files = (tmp_path / "train.tsv",)
    return TranslationConfig(
        run_dir=tmp_path / "run",
        data="files",
        train_files=files,
        validation_files=files,
        test_files=files,
        batch_size=4,
        stream=23,
        steps_per_epoch=5,
        vocabulary_size=500,
        units=5,
        embedding_units=3,
        epochs=3,
        beam_width=1,
    )


def seen(datasets, epoch, at):
    """The numbers of the pairs in each batch of an epoch."""
    epoch.assign(at)
    batches = []
    for inputs, labels, _ in datasets.train:
        assert labels.shape[0] == 4
        batches.append([tuple(row) for row in inputs["target"].numpy().tolist()])
    return batches


def test_an_epoch_is_a_part_of_the_data_that_seed_and_number_decide(config):
    config = dataclasses.replace(config, stream=NUMBER)  # So that all words are known.
    epoch = epoch_counter()
    datasets = data.datasets(config, epoch)
    assert int(datasets.train.cardinality()) == 5
    first, second = (seen(datasets, epoch, at) for at in (0, 1))
    assert [len(each) for each in (first, second)] == [5, 5]
    assert seen(datasets, epoch, 0) == first and first != second
    epoch.assign(1)
    rest = [
        [tuple(row) for row in inputs["target"].numpy().tolist()]
        for inputs, *_ in datasets.train.skip(2)
    ]
    assert rest == second[2:]


def test_epochs_go_on_where_the_last_one_ended_and_begin_again_at_the_end():
    numbers = [
        [pair.target for pair in next(streamed._pools(pairs, first, 7))]
        for first in (0, 20, NUMBER - 3, 2 * NUMBER + 1)
    ]
    everything = [target for _, target in pairs()]
    expected = [
        list(itertools.islice(itertools.cycle(everything), first, first + 7))
        for first in (0, 20, 50, 107)
    ]
    assert numbers == expected


def test_no_pair_of_a_pool_is_lost_but_the_remainder(config):
    facts = data._facts(config, [data.Pair(*pair) for pair in pairs()])
    config = dataclasses.replace(config, stream=NUMBER, steps_per_epoch=13)
    dataset = streamed.shuffled(pairs, facts, config, Most(4), epoch_counter())
    targets = [tuple(row[row > 0]) for inputs, *_ in dataset for row in inputs["target"].numpy()]
    assert len(targets) == len(set(targets)) == 52


def test_it_trains_and_predicts(config, capfd):
    flags = ["--data", "files", "--stream", 23, "--steps-per-epoch", 5, "--batch-size", 4]
    flags += ["--units", 5, "--embedding-units", 3, "--epochs", 2, "--beam-width", 1]
    for part in ("train", "validation", "test"):
        flags += [f"--{part}-files", config.train_files[0]]
    flags += ["--run-dir", config.run_dir]
    assert cli.main(["train", "translation", *map(str, flags)]) == 0
    out = capfd.readouterr().out
    assert "files: training pairs are read 23 at a time; 53 for validation" in out
    assert "5/5 - " in out


def test_a_wrong_line_further_on_is_named(config, capfd):
    path = config.train_files[0]
    wrong = path.with_name("wrong.tsv")
    wrong.write_text(path.read_text() + "no tab\n")
    flags = ["--data", "files", "--stream", 23, "--steps-per-epoch", 5, "--batch-size", 4]
    flags += ["--units", 5, "--embedding-units", 3, "--epochs", 9, "--train-files", wrong]
    flags += ["--validation-files", path, "--test-files", path, "--run-dir", config.run_dir]
    assert cli.main(["train", "translation", *map(str, flags)]) == 2
    last = capfd.readouterr().err.splitlines()[-1]  # Before it, TensorFlow has its own.
    assert last.startswith(f"keras-attention: {wrong}:54: expected 2 columns separated by a tab")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps_per_epoch": 0}, "--stream and --steps-per-epoch need each other"),
        ({"stream": 0}, "--stream and --steps-per-epoch need each other"),
        ({"stream": 3}, "--stream must be at least --batch-size, 4. Received: 3"),
        (
            {"data": "dates", "train_files": (), "validation_files": (), "test_files": ()},
            "--stream is for --data files or tfds:NAME, not dates.",
        ),
    ],
)
def test_flags_that_do_not_fit_are_refused(config, changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(config, **changes)


MEMORY = """
import itertools, resource
import numpy as np
from applications.training.data import epoch_counter
from applications.translation import data, streamed
from applications.translation.config import TranslationConfig
from applications.translation.encoded import Most

told = 0
def lines():  # of 20 GB: 200 million of a hundred bytes
    global told
    for number in range(200_000_000):
        told += 1
        word = f"w{number % 997}"
        yield " ".join([word] * 8), " ".join([word, "x"] * 5)

paths = tuple(__import__("pathlib").Path(name) for name in "a")
config = TranslationConfig(data="files", train_files=paths, validation_files=paths,
    test_files=paths, batch_size=64, stream=2_000, steps_per_epoch=1_500, vocabulary_size=2_000)
facts = data._facts(config, [data.Pair(*p) for p in itertools.islice(lines(), 2_000)])
peaks = []
dataset = streamed.shuffled(lines, facts, config, Most(64), epoch_counter())
for number, batch in enumerate(dataset):
    if number % 250 == 249:
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
assert told > 90_000, told
print(peaks[0], peaks[-1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="measures with getrusage")
def test_memory_stays_flat_however_much_is_read():
    done = subprocess.run(
        [sys.executable, "-c", MEMORY],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    early, late = map(float, done.stdout.split())
    assert late < early + 20.0  # MiB, after 16,000 and 96,000 pairs of a hundred bytes
