"""S9: requests that meet."""

from contextlib import contextmanager

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.export.conformance.calls import predict_request, spec
from tests.export.conformance.models import save
from tests.export.conformance.servers import DidNotStart, calling, launch


@pytest.fixture
def batching(tmp_path, config):
    """`batching(**parameters)` serves a model that tells of its batches as `half`."""

    def rows(x):
        return {"x": tf.identity(x), "executed": tf.fill(tf.shape(x)[:1], tf.shape(x)[0])}

    def slow(x):
        end = tf.timestamp() + 1.0
        tf.while_loop(lambda now: now < end, lambda _: (tf.timestamp(),), (tf.timestamp(),))
        return {"x": tf.identity(x)}

    def pair(x, other):
        return {"x": x + 0.0, "other": other + 0.0}

    anything = tf.TensorSpec(None, tf.float32)
    save(
        tmp_path / "half" / "1",
        tf.Module(),
        {
            "serving_default": (rows, {"x": anything}),
            "slow": (slow, {"x": anything}),
            "pair": (pair, {"x": anything, "other": anything}),
        },
    )

    @contextmanager
    def serve(padding=False, allowed=(), **parameters):
        given = {
            "max_batch_size": 4, "batch_timeout_micros": 500_000, "max_enqueued_batches": 10,
            "num_batch_threads": 2, **parameters,
        }  # fmt: skip
        lines = [f"{name} {{ value: {value} }}" for name, value in given.items()]
        lines += [f"allowed_batch_sizes: {size}" for size in allowed]
        lines += ["pad_variable_length_inputs: true"] if padding else []
        file = tmp_path / "batching.config"
        file.write_text("\n".join(lines))
        with launch(config(), "half", batching=file) as address, calling(address) as opened:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(opened)
            yield lambda *asked, **named: [
                each.exception() or each.result()
                for each in [stub.Predict.future(one, **named) for one in asked]
            ]

    return serve


def arrays(answer):
    return {name: tf.make_ndarray(proto).tolist() for name, proto in answer.outputs.items()}


@pytest.mark.parametrize(
    ("allowed", "executed"),
    [
        pytest.param((), 2, id="S9-together"),
        pytest.param((1, 3, 4), 3, id="S9-rounded-up"),
    ],
)
def test_requests_that_meet_are_one_batch(batching, allowed, executed):
    with batching(allowed=allowed) as ask:
        answers = ask(predict_request([1.0]), predict_request([2.0]))
        assert [arrays(each) for each in answers] == [
            {"x": [[1.0]], "executed": [executed]},
            {"x": [[2.0]], "executed": [executed]},
        ]


def test_rows_of_other_shapes_are_padded_with_their_first_element(batching):
    wide = [[[1.0, 2.0], [3.0, 4.0]]], [[[5.0, 6.0, 7.0], [8.0, 9.0, 10.0], [11.0, 12.0, 13.0]]]
    with batching(padding=True) as ask:
        first, second = (arrays(each) for each in ask(*(predict_request(*rows) for rows in wide)))
        assert first["x"] == [[[1.0, 2.0, 1.0], [3.0, 4.0, 1.0], [1.0, 1.0, 1.0]]]
        assert second["x"] == wide[1]


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        pytest.param(
            [predict_request([1.0]), predict_request([1.0, 2.0])],
            "FAILED_PRECONDITION",
            "have different shapes and padding is turned off",
            id="S9-shapes",
        ),
        pytest.param(
            [predict_request(*[[1.0]] * 5)],
            "INVALID_ARGUMENT",
            "Task size 5 is larger than maximum input batch size 4",
            id="S9-too-large",
        ),
        pytest.param(
            [predict_pb2.PredictRequest(
                model_spec=spec("half", signature_name="pair"),
                inputs={
                    "x": tf.make_tensor_proto([1.0, 2.0]), "other": tf.make_tensor_proto([1.0])
                },
            )],
            "INVALID_ARGUMENT",
            "equal 0th-dimension size",
            id="S9-rows-differ",
        ),
        pytest.param(
            [predict_pb2.PredictRequest(
                model_spec=spec("half"), inputs={"x": tf.make_tensor_proto(1.0)}
            )],
            "INVALID_ARGUMENT",
            "must have at least one dimension",
            id="S9-scalar",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_batched_is_refused(batching, asked, code, words):
    with batching() as ask:
        for answer in ask(*asked):
            assert answer.code().name == code and words in answer.details()


@pytest.mark.parametrize(
    ("allowed", "words"),
    [
        pytest.param((3, 1, 4), "monotonically increasing", id="S9-unsorted"),
        pytest.param((1, 3), "final entry in allowed_batch_sizes must equal", id="S9-last"),
    ],
)
def test_sizes_that_cannot_be(batching, allowed, words):
    with pytest.raises(DidNotStart, match=words), batching(allowed=allowed):
        pass


def test_a_full_queue_refuses_and_a_deadline_ends_the_wait(batching):
    alone = {"max_batch_size": 1, "max_enqueued_batches": 1, "num_batch_threads": 1}
    slow = predict_request([1.0], signature="slow")
    with batching(**alone) as ask:
        answers = ask(*[slow] * 6)
        refusals = [each for each in answers if isinstance(each, grpc.RpcError)]
        assert 0 < len(refusals) < 6
        for each in refusals:
            assert each.code().name == "UNAVAILABLE"
            assert "The batch scheduling queue to which this task was submitted" in each.details()
        late = ask(slow, slow, timeout=0.5)
        assert {each.code().name for each in late} <= {
            "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"
        }  # fmt: skip


def test_a_part_of_the_outputs_is_another_batch(batching):
    asked = predict_request([1.0])
    asked.output_filter.append("x")
    with batching() as ask:
        some, every = (arrays(each) for each in ask(asked, predict_request([2.0])))
        assert some == {"x": [[1.0]]} and every == {"x": [[2.0]], "executed": [1]}
