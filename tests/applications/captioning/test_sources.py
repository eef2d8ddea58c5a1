"""COCO, Flickr8k and TensorFlow Datasets, in the layouts that people have."""

import json

import pytest

from applications.captioning import sources
from applications.training.errors import DataError
from tests.applications.captioning import photographs


def names(part):
    return [source.name.rsplit("/", 1)[-1] for source in part]


def test_coco_is_read_in_its_official_layout(tmp_path):
    found = sources.coco(photographs.coco(tmp_path))
    assert [len(part) for part in found] == [18, 2, 7]
    assert not set(names(found.train)) & set(names(found.validation))
    first = found.test[0]
    assert first.captions == photographs.CAPTIONS[:2]
    assert first.read() == photographs.picture(0)


def test_coco_of_2014_will_do(tmp_path):
    assert len(sources.coco(photographs.coco(tmp_path, year="2014")).test) == 7


def test_flickr8k_is_read_and_parted_for_good(tmp_path):
    found = sources.flickr8k(photographs.flickr8k(tmp_path))
    assert [len(part) for part in found] == [18, 3, 3]
    assert len({source.name for part in found for source in part}) == 24
    assert [names(part) for part in sources.flickr8k(tmp_path)] == [names(part) for part in found]
    captions = {source.name[-7:]: source.captions for part in found for source in part}
    assert captions["001.jpg"] == ("The brown dog, running.", "Two cats sit on a mat")


def test_pictures_may_lie_beside_the_captions(tmp_path):
    photographs.flickr8k(tmp_path)
    for path in (tmp_path / "Images").iterdir():
        path.rename(tmp_path / path.name)
    (tmp_path / "Images").rmdir()
    assert len(sources.flickr8k(tmp_path).train) == 18


def test_official_lists_are_followed(tmp_path):
    photographs.flickr8k(tmp_path)
    for part, lines in (("train", "003.jpg\n001.jpg\n\n"), ("dev", "000.jpg"), ("test", "002.jpg")):
        (tmp_path / f"Flickr_8k.{part}Images.txt").write_text(lines)
    found = sources.flickr8k(tmp_path)
    assert [names(part) for part in found] == [["003.jpg", "001.jpg"], ["000.jpg"], ["002.jpg"]]
    (tmp_path / "Flickr_8k.devImages.txt").write_text("000.jpg\n999.jpg\n")
    with pytest.raises(DataError, match=r"devImages.txt:2: captions.txt has no caption of 999.jpg"):
        sources.flickr8k(tmp_path)


def test_a_tfds_set_is_read_in_a_stream(monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    import tensorflow as tf

    def load(name, split, data_dir, decoders):
        assert (name, split) == ("coco_captions/2014", ["train", "val", "test"])
        part = tf.data.Dataset.from_tensor_slices(
            {"image": [b"one", b"two"], "captions": {"text": [["a dog", "a cat"], ["é", "b"]]}}
        )
        return [part, part.take(1), part.skip(1)]

    monkeypatch.setattr(tfds, "load", load)
    found = sources.tfds("coco_captions/2014", None)
    for _ in range(2):  # Each part can be gone through again.
        assert [len(list(part)) for part in found] == [2, 1, 1]
    source = next(iter(found.test))
    assert (source.read(), source.captions) == (b"two", ("é", "b"))
    assert source.name == "tfds:coco_captions/2014, picture 0"


def test_tfds_gives_image_files_and_the_text_of_captions():
    tfds = pytest.importorskip("tensorflow_datasets")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TFDS warns of its own mock data
        with tfds.testing.mock_data(num_examples=3):
            spec = sources.tfds("coco_captions/2014", None).train.dataset.element_spec
            with pytest.raises(DataError, match="tfds:mnist: expected image and captions in the"):
                sources.tfds("mnist", None)
    assert spec["image"].dtype == spec["captions"]["text"].dtype == "string"
    assert spec["image"].shape.rank == 0 and set(spec["captions"]) == {"text"}
    with pytest.raises(DataError, match="tfds:no_such_set"):
        sources.tfds("no_such_set", None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "captions_train2017.json: expected COCO captions: JSONDecodeError"),
        ("[]", "captions_train2017.json: expected COCO captions: TypeError"),
        (
            '{"images": []}',
            "captions_train2017.json: expected COCO captions: KeyError 'annotations'",
        ),
        ('{"images": [], "annotations": []}', "expected two pictures with captions at least"),
    ],
)
def test_a_malformed_file_of_coco_is_named(tmp_path, content, words):
    photographs.coco(tmp_path)
    (tmp_path / "annotations" / "captions_train2017.json").write_text(content)
    with pytest.raises(DataError, match=words):
        sources.coco(tmp_path)


def test_a_malformed_line_of_flickr8k_is_named(tmp_path):
    photographs.flickr8k(tmp_path)
    path = tmp_path / "captions.txt"
    path.write_text("image,caption\n000.jpg,a dog\nno comma\n")
    with pytest.raises(DataError, match=r"captions\.txt:3: expected image,caption. Found: 'no com"):
        sources.flickr8k(tmp_path)
    path.write_text("image,caption\n000.jpg,a dog\n")
    with pytest.raises(DataError, match="expected three pictures at least"):
        sources.flickr8k(tmp_path)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match=r"expected annotations/captions_train2017\.json \(or 2014"):
        sources.coco(tmp_path)
    with pytest.raises(DataError, match=r"captions\.txt: cannot be read: No such file"):
        sources.flickr8k(tmp_path)
    photographs.coco(tmp_path / "c")
    (tmp_path / "c" / "val2017" / f"{3:012}.jpg").unlink()
    with pytest.raises(DataError, match=r"000003\.jpg: no such picture, though it has captions"):
        sources.coco(tmp_path / "c")


def test_pictures_of_coco_without_captions_are_left_out(tmp_path):
    photographs.coco(tmp_path)
    path = tmp_path / "annotations" / "captions_val2017.json"
    document = json.loads(path.read_text())
    document["annotations"] = document["annotations"][2:]
    path.write_text(json.dumps(document))
    assert len(sources.coco(tmp_path).test) == 6
