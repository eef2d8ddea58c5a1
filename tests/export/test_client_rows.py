"""Many rows through a server, whose answer to x is 10 x unless a test says otherwise."""

import threading
import time

import numpy as np
import pytest

from export import Client, ExportError, ServingError
from export.client_rows import stream

LIMIT = 20  # seconds that nothing here takes


def convert(row):
    return {name: np.asarray(value) for name, value in row.items()}


class Server:
    """Remembers the batches that it was asked for."""

    def __init__(self):
        self.batches = []

    def __call__(self, batch):
        self.batches.append(batch["x"].tolist())
        return {"y": batch["x"] * 10}


def values(answers):
    return [answer["y"].tolist() for answer in answers]


def numbers(count):
    return ({"x": number} for number in range(count))


@pytest.mark.parametrize(
    ("rows", "size", "sizes"),
    [(0, 4, []), (1, 4, [1]), (4, 4, [4]), (11, 4, [4, 4, 3]), (3, 1, [1, 1, 1])],
)
def test_rows_are_sent_in_batches(rows, size, sizes):
    server = Server()
    assert values(stream(numbers(rows), convert, server, size, 1)) == [10 * x for x in range(rows)]
    assert [len(batch) for batch in server.batches] == sizes


def test_answers_keep_the_order_of_the_rows():
    def slow_at_first(batch):
        time.sleep(0.2 if batch["x"][0] == 0 else 0)
        return {"y": batch["x"]}

    assert values(stream(numbers(12), convert, slow_at_first, 2, 3)) == list(range(12))


def test_batches_are_on_their_way_at_once():
    together = threading.Barrier(3, timeout=LIMIT)

    def meet(batch):
        together.wait()
        return {"y": batch["x"]}

    assert values(stream(numbers(12), convert, meet, 2, 3)) == list(range(12))


def test_no_more_rows_are_read_than_are_on_their_way():
    read = []

    def rows():
        for row in numbers(1000):
            read.append(row)
            yield row

    answers = stream(rows(), convert, Server(), 5, 3)
    assert not read
    next(answers)
    assert len(read) == 15
    answers.close()
    assert len(read) == 15


def test_a_batch_holds_rows_of_equal_shapes_and_types():
    lengths, server = (2, 2, 3, 3, 3, 2), Server()
    rows = [{"x": [length] * length} for length in lengths] + [{"x": [0.5] * 2}]
    answers = [*stream(rows, convert, server, 2, 2)]
    assert values(answers) == [[10 * n] * n for n in lengths] + [[5.0] * 2]
    assert sorted(map(np.shape, server.batches)) == [(1, 2), (1, 2), (1, 3), (2, 2), (2, 3)]


def test_an_answer_is_an_array_of_whatever_type():
    strings = np.array([b"a", b"bc"], object)
    answers = [*stream(numbers(2), convert, lambda batch: {"y": strings, "z": batch["x"]}, 2, 1)]
    assert all(isinstance(array, np.ndarray) for answer in answers for array in answer.values())
    assert [(each["y"].item(), each["z"].item()) for each in answers] == [(b"a", 0), (b"bc", 1)]


def answers_then(rows, predict, error, **options):
    """The answers that came before the error, and its words."""
    answered = []
    with pytest.raises(error) as caught:
        for answer in stream(rows, convert, predict, options.get("size", 4), 3):
            answered.append(answer["y"].item())
    return answered, str(caught.value)


@pytest.mark.parametrize(("size", "where"), [(4, "rows 5 to 8"), (1, "row 7")])
def test_a_failed_batch_comes_after_the_answers_before_it(size, where):
    def refuse_six(batch):
        if 6 in batch["x"]:
            raise ServingError("INVALID_ARGUMENT", "six")
        return {"y": batch["x"]}

    answered, words = answers_then(numbers(99), refuse_six, ServingError, size=size)
    assert answered == list(range(4 if size == 4 else 6))
    assert words == f"INVALID_ARGUMENT: {where}: six"


def test_rows_that_end_in_an_error_are_answered_first():
    def rows():
        yield from numbers(6)
        raise OSError("the disk is gone")

    answered, words = answers_then(rows(), Server(), OSError)
    assert answered == [0, 10, 20, 30, 40, 50] and words == "the disk is gone"


def test_a_row_that_is_no_array_is_named(server):
    with Client(f"127.0.0.1:{server.rest_port}", "half_plus_two", protocol="rest") as client:
        answers = client.stream([{"x": 2.0}, {"x": [[1], [2, 3]]}])
        assert next(answers)["y"] == 3.0
        with pytest.raises(ExportError, match="^row 2: An input must be a rectangular array"):
            next(answers)


@pytest.mark.parametrize("shape", [(), (3,), (1, 2)])
def test_outputs_without_a_row_for_each_row(shape):
    answered, words = answers_then(numbers(2), lambda batch: {"y": np.zeros(shape)}, ExportError)
    expected = f"rows 1 to 2: expected 2 rows in output 'y'. Received: shape {shape}."
    assert (answered, words) == ([], expected)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_rows_take_the_types_of_the_signature(server, protocol):
    port = server.grpc_port if protocol == "grpc" else server.rest_port
    rows = [{"count": n, "word": f"w{n}", "ratio": n / 2, "precise": 0.25} for n in range(7)]
    with Client(f"127.0.0.1:{port}", "words", protocol=protocol) as client:
        answers = [*client.stream(rows, signature="describe", batch_size=3, concurrent=2)]
    assert [answer["shout"].item() for answer in answers] == [f"W{n}".encode() for n in range(7)]
    assert [answer["total"].item() for answer in answers] == [1.5 * n + 0.25 for n in range(7)]
    assert answers[0]["twice"].dtype == np.int32 and answers[0]["twice"].shape == ()


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"concurrent": 0}])
def test_sizes_below_one(wrong):
    with pytest.raises(ExportError, match="`concurrent` to be at least 1. Received: "):
        Client("127.0.0.1:1", "m").stream([], **wrong)
