"""Versions come, go and fail; labels, policies and configs: what a request finds."""

import gc
import shutil
import weakref

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from export import ExportError, ServingError
from export.dev_server import models as module
from export.dev_server.model_config import ModelConfig, discover, from_proto, read_config
from export.dev_server.models import Models
from export.layout import WARMUP_FILE


@pytest.fixture
def base(exports, tmp_path):
    """A model of the versions 1, 2 and 3."""
    folder = tmp_path / "half"
    for number in (1, 2, 3):
        shutil.copytree(exports / "half_plus_two" / "123", folder / str(number))
    return folder


@pytest.fixture
def serving(base):
    """Makes `Models` of the one model, by the arguments of its `ModelConfig`."""
    made = []

    def make(*arguments, **options):
        made.append(Models(lambda: {"half": ModelConfig(base, *arguments, **options)}))
        return made[-1]

    yield make
    for each in made:
        each.close()


def states(models):
    return {each.version: each.state for each in models.status("half")}


def answer(models, **choice):
    found = models.find("half", **choice)
    assert found.servable.predict({"x": np.array([2.0], "float32")})["y"] == [3.0]
    return found.version


def spoil(folder):
    (folder / "saved_model.pb").write_bytes(b"no message")


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ({}, {3}),
        ({"latest": 2}, {2, 3}),
        ({"latest": 9}, {1, 2, 3}),
        ({"policy": "all"}, {1, 2, 3}),
        ({"policy": "specific", "specific": frozenset([1, 3, 8])}, {1, 3}),
    ],
)
def test_a_policy_chooses_versions(serving, policy, versions):
    models = serving(**policy)
    assert set(states(models)) == versions
    assert answer(models) == max(versions)
    assert [answer(models, version=number) for number in sorted(versions)] == sorted(versions)


def test_a_new_version_takes_the_place_of_the_old(serving, base):
    models = serving()
    old = weakref.ref(models.find("half").servable)
    kept = models.find("half").servable
    shutil.copytree(base / "3", base / "10")
    models.refresh()
    assert states(models) == {10: "AVAILABLE", 3: "END"}
    assert answer(models) == 10
    with pytest.raises(ServingError, match=r"Specific\(half, 3\)"):
        models.find("half", version=3)
    assert kept.predict({"x": np.array([2.0], "float32")})["y"] == [3.0]  # a request in progress
    del kept
    gc.collect()
    assert old() is None


def test_a_version_that_does_not_load_is_refused_and_the_old_one_answers(
    serving, base, monkeypatch
):
    models = serving()
    shutil.copytree(base / "3", base / "4")
    spoil(base / "4")
    models.refresh()
    assert answer(models) == 3
    assert states(models) == {4: "END", 3: "AVAILABLE"}
    assert models.status("half", 4)[0].error is not None
    shutil.copy(base / "3" / "saved_model.pb", base / "4")
    models.refresh()  # a minute has not passed
    assert answer(models) == 3
    monkeypatch.setattr(module, "SECONDS_BETWEEN_RETRIES", 0.0)
    models._models["half"][4].next_try = 0.0
    models.refresh()
    assert answer(models) == 4
    assert models.status("half", 4)[0].error is None


def test_it_is_tried_again_five_times(serving, base, monkeypatch):
    tried = []
    models = serving()
    monkeypatch.setattr(module, "SECONDS_BETWEEN_RETRIES", 0.0)

    def fail(folder, **_):
        tried.append(folder.name)
        raise ServingError("DATA_LOSS", "gone")

    monkeypatch.setattr(module, "Servable", fail)
    (base / "4").mkdir()
    for _ in range(9):
        models.refresh()
    assert tried == ["4"] * 6
    assert models.status("half", 4)[0].error.code == "DATA_LOSS"


def test_a_version_that_is_removed_is_let_go_and_may_come_back(serving, base, tmp_path):
    models = serving("all")
    (base / "2").rename(tmp_path / "2")
    models.refresh()
    assert states(models) == {3: "AVAILABLE", 2: "END", 1: "AVAILABLE"}
    (tmp_path / "2").rename(base / "2")
    models.refresh()
    assert answer(models, version=2) == 2


def test_all_that_is_removed_is_gone_but_a_folder_that_cannot_be_seen_changes_nothing(
    serving, base, tmp_path
):
    models = serving()
    base.rename(tmp_path / "hidden")
    models.refresh()
    assert answer(models) == 3
    base.mkdir()
    models.refresh()
    with pytest.raises(ServingError, match=r"Servable not found for request: Latest\(half\)"):
        models.find("half")


def test_labels_name_versions(serving):
    models = serving("all", labels={"stable": 1, "canary": 3})
    assert answer(models, label="stable") == 1
    assert answer(models, label="canary") == 3
    with pytest.raises(ServingError, match="Unrecognized servable version label: none"):
        models.find("half", label="none")


def test_a_label_of_a_version_that_is_not_there_is_refused(serving):
    with pytest.raises(ServingError, match="assign label to version 2 of model half") as caught:
        serving(labels={"stable": 2})
    assert caught.value.code == "FAILED_PRECONDITION"


def test_a_reload_changes_models_labels_and_policies(serving, base, tmp_path):
    models = serving()
    other = tmp_path / "other"
    shutil.copytree(base / "1", other / "7")
    models.reload({"other": ModelConfig(other), "half": ModelConfig(base, "all", labels={"a": 1})})
    assert list(models) == ["half", "other"]
    assert answer(models, label="a") == 1
    models.refresh()  # the source is what was reloaded
    models.reload({"half": ModelConfig(base, "all", labels={"a": 2})})
    assert answer(models, label="a") == 2 and list(models) == ["half"]
    with pytest.raises(ServingError, match=r"Latest\(other\)"):
        models.find("other")
    assert [(each.version, each.state) for each in models.status("other")] == [(7, "END")]
    models.reload({"other": ModelConfig(other)})
    assert models.find("other").version == 7 and list(models) == ["other"]


def test_a_reload_that_fails_says_why_and_serves_the_rest(serving, base, tmp_path):
    models = serving()
    with pytest.raises(ServingError, match="Could not find base path") as caught:
        models.reload({"half": ModelConfig(base), "gone": ModelConfig(tmp_path / "gone")})
    assert caught.value.code == "NOT_FOUND"
    assert answer(models) == 3


def test_a_reload_reads_no_folder_outside(serving, base, tmp_path_factory):
    models = serving()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (base.parent / "link").symlink_to(elsewhere)
    for path in (elsewhere, base / ".." / ".." / elsewhere.name, base.parent / "link"):
        with pytest.raises(ServingError, match="Expected the base path of half in") as caught:
            models.reload({"half": ModelConfig(path)})
        assert caught.value.code == "PERMISSION_DENIED"
        assert answer(models) == 3


def test_a_version_is_in_the_folder_of_its_model(serving, base, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(base / "1", elsewhere / "1")
    models = serving("all")
    (base / "4").symlink_to(elsewhere / "1")
    (base / "5").symlink_to("1")
    models.refresh()
    state, *_ = models.status("half", 4)
    assert state.state == "END" and state.error.code == "PERMISSION_DENIED"
    assert answer(models, version=5) == 5


@pytest.mark.parametrize("kind", ["folder", "noise"])
def test_whatever_is_wrong_with_a_version_those_after_it_are_served(serving, base, kind):
    models = serving()
    for number in ("4", "5"):
        shutil.copytree(base / "3", base / number)
    warmup = base / "4" / WARMUP_FILE
    if kind == "folder":
        warmup.unlink(missing_ok=True)
        warmup.mkdir(parents=True)
    else:
        (base / "4" / "saved_model.pb").write_bytes(b"noise")
    (base / "5").rename(base.parent / "5")
    models.refresh()
    assert models.status("half", 4)[0].state == "END" and answer(models) == 3
    (base.parent / "5").rename(base / "5")
    models.refresh()
    assert models.find("half").version == 5


def test_a_folder_of_models_is_looked_at_again(base, exports):
    models = Models(lambda: discover(base.parent))
    shutil.copytree(exports / "words", base.parent / "words")
    models.refresh()
    assert list(models) == ["half", "words"]
    shutil.rmtree(base)
    models.refresh()
    assert list(models) == ["words"]
    models.close()


CONFIG = """model_config_list {
  config { name: "a" base_path: "/a" model_platform: "tensorflow"
           model_version_policy { specific { versions: 4 versions: 5 } }
           version_labels { key: "stable" value: 4 } }
  config { name: "b" base_path: "/b" model_platform: "tensorflow"
           model_version_policy { latest { num_versions: 3 } } }
  config { name: "c" base_path: "/c" model_platform: "tensorflow" model_version_policy { all {} } }
}"""


def test_a_config_file_is_read(tmp_path):
    (tmp_path / "models.config").write_text(CONFIG)
    found = read_config(tmp_path / "models.config")
    assert [str(config.base_path) for config in found.values()] == ["/a", "/b", "/c"]
    assert found["a"].specific == {4, 5} and found["a"].labels == {"stable": 4}
    assert (found["b"].policy, found["b"].latest) == ("latest", 3)
    assert found["c"].policy == "all"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense {", "Error parsing text-format tensorflow.serving.ModelServerConfig"),
        ("custom_model_config {}", "Expected a model_config_list"),
        ('{ base_path: "/a" model_platform: "tensorflow" }', "every model to have a name"),
        ('{ name: "a" base_path: "a" model_platform: "tensorflow" }', "an absolute path"),
        ('{ name: "a" base_path: "/a" }', "model_platform of a to be tensorflow"),
        (2 * '{ name: "a" base_path: "/a" model_platform: "tensorflow" }', "same name multiple"),
    ],
)
def test_a_config_that_is_wrong_is_refused(tmp_path, text, words):
    if text.startswith("{"):
        each = text.replace("}{", "} config {")
        text = f"model_config_list {{ config {each} }}"
    path = tmp_path / "models.config"
    path.write_text(text)
    with pytest.raises(ExportError, match=words) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_a_config_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ExportError, match="gone: No such file"):
        read_config(tmp_path / "gone")


def test_specific_versions_must_be_named():
    config = text_format.Parse(
        'model_config_list { config { name: "a" base_path: "/a" model_platform: "tensorflow" '
        "model_version_policy { specific {} } } }",
        model_server_config_pb2.ModelServerConfig(),
    )
    with pytest.raises(ExportError, match="the specific versions of a"):
        from_proto(config)
