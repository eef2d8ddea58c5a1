"""What a speech recognition run can be told, and what it cannot."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from applications.speech.config import PRESETS, SOURCES, SpeechConfig
from applications.training import config
from applications.training.errors import UserError

FILES = {"train_files": (Path("a"),), "validation_files": (Path("b"),), "test_files": (Path("c"),)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": "timit"}, "--data must be tones, digit_strings, files or tfds:NAME. Received: t"),
        ({"data": "digit_strings"}, "--data digit_strings needs --data-dir, the folder of the"),
        ({"held_out_speaker": "theo"}, "--held-out-speaker needs --data digit_strings, not tones"),
        ({"data": "files"}, "--data files needs --train-files, --validation-files and --test-f"),
        (FILES, "--train-files and its like need --data files, not tones"),
        ({"num_examples": 0}, "--num-examples must be at least 1. Received: 0"),
        ({"shortest": 0}, "--shortest must be at least 1. Received: 0"),
        ({"longest": 2}, "--longest must be at least 3. Received: 2"),
        ({"longer": (5, 1)}, r"--longer must be whole numbers above 1. Received: \(5, 1\)"),
        ({"noise": -0.1}, "--noise must be at least 0. Received: -0.1"),
        ({"gap": -1.0}, "--gap must be at least 0. Received: -1.0"),
        ({"max_seconds": 0.0}, "--max-seconds must be positive. Received: 0.0"),
        ({"sample_rate": 80}, "--sample-rate must be at least 4000. Received: 80"),
        ({"num_mels": 0}, "--num-mels must be at least 1. Received: 0"),
        ({"vocabulary_size": 4}, "--vocabulary-size must be at least 5. Received: 4"),
        ({"reductions": 4}, "--reductions must be from 0 to --encoder-layers, 2. Received: 4"),
        ({"reductions": -1}, "--reductions must be from 0 to --encoder-layers, 2. Received: -1"),
        ({"kernel_size": 30}, "--kernel-size must be odd. Received: 30"),
        ({"filters": 0}, "--filters must be at least 1. Received: 0"),
        ({"chunk": 3}, "--chunk needs --attention mocha, not location. Received: 3"),
        (
            {"attention": "content", "kernel_size": 5},
            "--kernel-size needs --attention location or smooth, not content. Received: 5",
        ),
        (
            {"initial_bias": 0.0},
            "--initial-bias needs --attention monotonic or mocha or milk, not location",
        ),
        ({"attention": "milk", "pre_sigmoid_noise": (1.0, 0.0)}, "--pre-sigmoid-noise must be pos"),
        ({"dropout": 1.0}, r"--dropout must be in \[0, 1\). Received: 1.0"),
        ({"average": 1.0}, r"--average must be in \[0, 1\). Received: 1.0"),
        ({"beam_width": 0}, "--beam-width must be at least 1. Received: 0"),
        ({"length_penalty": -0.5}, "--length-penalty must be at least 0. Received: -0.5"),
    ],
)
def test_flags_that_cannot_be(changes, words):
    with pytest.raises(UserError, match=words):
        config.refuse_without_effect(SpeechConfig(**changes), SpeechConfig())


def test_flags_that_can_be():
    SpeechConfig(data="files", **FILES)
    SpeechConfig(data="digit_strings", data_dir=Path("a"), held_out_speaker="theo")
    SpeechConfig(attention="mocha", chunk=4, initial_bias=0.0)
    SpeechConfig(attention="smooth", filters=3, kernel_size=5, longer=(), noise=0.0, gap=0.0)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_kept_and_have_a_source(tmp_path, name):
    preset = PRESETS[name]
    config.save(tmp_path / "config.json", "speech", preset)
    assert config.load(tmp_path / "config.json", SpeechConfig) == preset
    assert preset.data in SOURCES and preset.run_dir == Path("runs") / name
    for attention in ("content", "monotonic"):  # What it says of others does not matter.
        config.refuse_without_effect(dataclasses.replace(preset, attention=attention), preset)


def test_flags_are_read_without_tensorflow():
    code = "import sys, applications.speech.config; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
