"""Requests that meet are run together: what each gets back, and what is refused."""

import threading
import time

import numpy as np
import pytest

from export import ExportError, ServingError
from export.dev_server.batching import BatchScheduler
from export.dev_server.batching_parameters import Parameters


class Graph:
    """A runner that remembers its batches, and can be held up."""

    def __init__(self, function=lambda x: [2.0 * x]):
        self.function = function
        self.batches = []
        self.timeouts = []
        self.go = threading.Event()
        self.go.set()

    def run(self, feeds, fetches, arrays, timeout=None):
        self.go.wait(20)
        self.batches.append(arrays)
        self.timeouts.append(timeout)
        return self.function(*arrays)


class Scheduler(BatchScheduler):
    """Tells when a request has come."""

    def __init__(self, parameters):
        self.came = threading.Semaphore(0)
        super().__init__(parameters)

    def add(self, *arguments):
        try:
            super().add(*arguments)
        finally:
            self.came.release()


@pytest.fixture
def schedule():
    """Makes a scheduler by parameters, of one thread unless they say more."""
    made = []

    def make(**parameters):
        made.append(Scheduler(Parameters(**{"num_batch_threads": 1, **parameters})))
        return made[-1]

    yield make
    for each in made:
        each.close()


def meet(scheduler, graph, requests, timeout=None):
    """Sends requests at once, in order; an answer or an error of each."""
    runner = scheduler.batching(graph)
    results = [None] * len(requests)

    def ask(index, arrays):
        try:
            results[index] = runner.run(["x"], ["y"], arrays, timeout)
        except ServingError as error:
            results[index] = error

    threads = []
    for index, arrays in enumerate(requests):
        threads.append(threading.Thread(target=ask, args=(index, arrays)))
        threads[-1].start()
        scheduler.came.acquire()
    for thread in threads:
        thread.join()
    return results


def rows(*values):
    return np.array(values, "float32")


WAIT = 1_000_000  # microseconds: longer than the threads below take to come


def test_requests_that_meet_are_one_run_and_each_gets_its_rows(schedule):
    graph = Graph()
    scheduler = schedule(batch_timeout_micros=WAIT)
    results = meet(scheduler, graph, [[rows(1, 2)], [rows(3)], [rows(4, 5, 6)]])
    assert [result[0].tolist() for result in results] == [[2, 4], [6], [8, 10, 12]]
    assert [batch[0].tolist() for batch in graph.batches] == [[1, 2, 3, 4, 5, 6]]


def test_a_full_batch_waits_no_longer_and_the_next_is_another(schedule):
    graph = Graph()
    scheduler = schedule(batch_timeout_micros=WAIT, max_batch_size=3)
    results = meet(scheduler, graph, [[rows(1, 2)], [rows(3)], [rows(4)]])
    assert [len(batch[0]) for batch in graph.batches] == [3, 1]
    assert results[2][0].tolist() == [8]


def test_without_a_timeout_what_waits_for_a_thread_is_run_together(schedule):
    graph = Graph()
    scheduler = schedule()
    graph.go.clear()
    threading.Timer(0.2, graph.go.set).start()
    meet(scheduler, graph, [[rows(1)], [rows(2)], [rows(3)]])
    batches = [batch[0].tolist() for batch in graph.batches]
    assert sum(batches, []) == [1, 2, 3] and len(batches) < 3


def test_other_outputs_and_other_models_are_other_batches(schedule):
    scheduler = schedule(batch_timeout_micros=100_000)
    first, second = Graph(), Graph()
    runners = [scheduler.batching(first), scheduler.batching(second)]
    threads = [
        threading.Thread(target=runner.run, args=(["x"], fetches, [rows(1)]))
        for runner in runners
        for fetches in (("y",), ("z",))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(first.batches) == len(second.batches) == 2


def test_a_batch_is_rounded_up_with_its_last_tasks_first_row(schedule):
    graph = Graph()
    parameters = {"allowed_batch_sizes": (1, 4), "max_batch_size": 4}
    scheduler = schedule(batch_timeout_micros=WAIT, **parameters)
    results = meet(scheduler, graph, [[rows(1)], [rows(7, 8)]])
    assert graph.batches[0][0].tolist() == [1, 7, 8, 7]
    assert [result[0].tolist() for result in results] == [[2], [14, 16]]


def test_rows_of_other_shapes_are_refused_together_unless_padded(schedule):
    graph = Graph()
    scheduler = schedule(batch_timeout_micros=WAIT)
    results = meet(scheduler, graph, [[rows([1, 2])], [rows([1, 3, 3])]])
    assert [error.code for error in results] == ["FAILED_PRECONDITION"] * 2
    assert "padding is turned off" in results[0].message
    assert graph.batches == []


def test_rows_are_padded_with_their_own_first_element(schedule):
    graph = Graph()
    parameters = {"pad_variable_length_inputs": True, "batch_timeout_micros": WAIT}
    scheduler = schedule(**parameters)
    results = meet(scheduler, graph, [[rows([1, 2, 2])], [rows([5, 3, 3, 4])]])
    assert graph.batches[0][0].tolist() == [[1, 2, 2, 1], [5, 3, 3, 4]]
    assert results[0][0].tolist() == [[2, 4, 4, 2]]  # what was padded is not cropped
    ranks = meet(scheduler, graph, [[rows([1, 2])], [rows([[1]])]])
    assert [error.code for error in ranks] == ["INVALID_ARGUMENT"] * 2


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ([], "must have inputs"),
        ([np.float32(1)], "must have at least one dimension"),
        ([rows(1, 2), rows(1)], "must have equal 0th-dimension size"),
        ([rows(*range(9))], "Task size 9 is larger than maximum input batch size 8"),
    ],
)
def test_a_request_that_is_no_batch_is_refused(schedule, arrays, words):
    runner = schedule(max_batch_size=8).batching(Graph())
    with pytest.raises(ServingError, match=words) as caught:
        runner.run(["x"], ["y"], arrays)
    assert caught.value.code == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: [np.sum(x)], "Batched output tensor has 0 dimensions"),
        (lambda x: [x[:1]], "does not equal the sum of the 0th dimension"),
    ],
)
def test_outputs_that_are_no_batch_are_refused(schedule, function, words):
    runner = schedule().batching(Graph(function))
    with pytest.raises(ServingError, match=words) as caught:
        runner.run(["x"], ["y"], [rows(1, 2)])
    assert caught.value.code == "FAILED_PRECONDITION"


def test_an_error_is_that_of_all_who_met_and_the_next_batch_runs(schedule):
    def fail(x):
        if len(x) > 1:
            raise ServingError("INTERNAL", "no")
        return [x]

    scheduler, graph = schedule(batch_timeout_micros=WAIT), Graph(fail)
    assert [e.code for e in meet(scheduler, graph, [[rows(1)], [rows(2)]])] == ["INTERNAL"] * 2
    assert scheduler.batching(graph).run(["x"], ["y"], [rows(3)])[0].tolist() == [3]


def test_a_bug_below_is_an_error_and_not_a_silence(schedule):
    runner = schedule().batching(Graph(lambda x: 1 / 0))
    with pytest.raises(ServingError, match="ZeroDivisionError"):
        runner.run(["x"], ["y"], [rows(1)])


def test_a_large_request_is_cut_where_that_is_asked_for(schedule):
    graph = Graph()
    parameters = {"enable_large_batch_splitting": True, "max_execution_batch_size": 2}
    runner = schedule(max_batch_size=8, **parameters).batching(graph)
    assert runner.run(["x"], ["y"], [rows(1, 2, 3, 4, 5)])[0].tolist() == [2, 4, 6, 8, 10]
    assert sorted(len(batch[0]) for batch in graph.batches) == [1, 2, 2]
    with pytest.raises(ServingError, match="Task size 9"):
        runner.run(["x"], ["y"], [rows(*range(9))])


def test_too_many_batches_are_refused(schedule):
    graph = Graph()
    scheduler = schedule(max_batch_size=1, max_enqueued_batches=2)
    graph.go.clear()
    threading.Timer(0.5, graph.go.set).start()
    results = meet(scheduler, graph, [[rows(n)] for n in range(5)])
    refused = [result for result in results if isinstance(result, ServingError)]
    assert {error.code for error in refused} == {"UNAVAILABLE"}
    assert len(refused) in (2, 3)  # the thread may have come late
    assert "queue to which this task was submitted is full" in refused[0].message


def test_who_waits_too_long_is_told_so(schedule):
    graph = Graph()
    scheduler = schedule()
    graph.go.clear()
    threading.Timer(0.3, graph.go.set).start()
    results = meet(scheduler, graph, [[rows(1)], [rows(2)]], timeout=0.05)
    assert [error.code for error in results] == ["DEADLINE_EXCEEDED"] * 2
    time.sleep(0.4)
    assert len(graph.batches) == 1  # the second was past its deadline before its turn came


def test_a_batch_has_the_time_of_its_most_patient(schedule):
    graph = Graph()
    runner = schedule(batch_timeout_micros=100_000).batching(graph)
    for timeouts in ((5.0, 9.0), (5.0, None)):
        threads = [
            threading.Thread(target=runner.run, args=(["x"], ["y"], [rows(1)], timeout))
            for timeout in timeouts
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert 8.0 < graph.timeouts[0] < 9.0 and graph.timeouts[1] is None


def test_a_file_of_parameters_is_read(tmp_path):
    path = tmp_path / "batching.config"
    path.write_text(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 70 }\n"
        "allowed_batch_sizes: 4 allowed_batch_sizes: 8 pad_variable_length_inputs: true\n"
        'thread_pool_name { value: "pool" } num_batch_threads { value: 3 }\n'
    )
    assert Parameters.read(path) == Parameters(
        max_batch_size=8,
        batch_timeout_micros=70,
        allowed_batch_sizes=(4, 8),
        pad_variable_length_inputs=True,
        num_batch_threads=3,
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_batch_size: 32", "Error parsing text-format tensorflow.serving.BatchingParameters"),
        ("allowed_batch_sizes: 4 allowed_batch_sizes: 2", "must be monotonically increasing"),
        ("allowed_batch_sizes: 4", "must equal max_batch_size. Received: 4 and 1000"),
        ("max_batch_size { value: 0 }", "max_batch_size must be at least 1. Received: 0"),
        (
            "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 2000 }",
            "must not exceed max_batch_size",
        ),
    ],
)
def test_parameters_that_cannot_be_are_refused(tmp_path, text, words):
    path = tmp_path / "batching.config"
    path.write_text(text)
    with pytest.raises(ExportError, match=words) as caught:
        Parameters.read(path)
    assert str(path) in str(caught.value)
