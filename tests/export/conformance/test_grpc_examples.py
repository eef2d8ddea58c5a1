"""G: Classify, Regress and MultiInference."""

import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    regression_pb2,
)

from tests.export.conformance.calls import example, refused, spec

CLASSIFY, REGRESS = tf.saved_model.CLASSIFY_METHOD_NAME, tf.saved_model.REGRESS_METHOD_NAME


def rows(*examples):
    return input_pb2.Input(
        example_list=input_pb2.ExampleList(examples=[example(features) for features in examples])
    )


def rows_with_context(context, *examples):
    return input_pb2.Input(
        example_list_with_context=input_pb2.ExampleListWithContext(
            context=example(context), examples=[example(features) for features in examples]
        )
    )


TWO = rows({"x": 2.0}, {"x": 5.0})


@pytest.fixture
def ask(prediction):
    """`ask(verb, model_spec, examples)` of Classify or Regress."""

    def ask(verb, model_spec, examples=TWO):
        if verb == "classify":
            request = classification_pb2.ClassificationRequest(
                model_spec=model_spec, input=examples
            )
            return prediction.Classify(request, timeout=60)
        request = regression_pb2.RegressionRequest(model_spec=model_spec, input=examples)
        return prediction.Regress(request, timeout=60)

    return ask


def numbers(result):
    """The values of a result: of a classification the scores, label and all left out."""
    if isinstance(result, regression_pb2.RegressionResult):
        return [regression.value for regression in result.regressions]
    return [[entry.score for entry in row.classes] for row in result.classifications]


@pytest.mark.parametrize(
    "choice",
    [
        pytest.param({}, id="latest"),
        pytest.param({"version": 123}, id="version"),
        pytest.param({"version_label": "stable"}, id="label"),
    ],
)
@pytest.mark.parametrize(
    ("verb", "values"), [("classify", [[3.0], [4.5]]), ("regress", [3.0, 4.5])]
)
def test_an_answer(ask, verb, values, choice):
    signature = f"{verb}_x_to_y"
    response = ask(verb, spec(signature_name=signature, **choice))
    assert response.model_spec == spec(version=123, signature_name=signature)
    assert numbers(response.result) == values


def test_a_context_is_merged_before_each_example(ask):
    examples = rows_with_context({"x": 2.0}, {}, {"x": 5.0}, {"x2": 9.0})
    response = ask("regress", spec(signature_name="regress_x_to_y"), examples)
    assert numbers(response.result) == [3.0, 4.5, 3.0]


def test_labels_and_scores(ask):
    response = ask("classify", spec("examples", signature_name="labels_and_scores"))
    assert [
        [(entry.label, entry.score) for entry in row.classes]
        for row in response.result.classifications
    ] == [[("a", 0.25), ("a", 0.25)]] * 2


@pytest.mark.parametrize("verb", ["classify", "regress"])
@pytest.mark.parametrize(
    ("model_spec", "code", "words"),
    [
        (None, "INVALID_ARGUMENT", "Missing ModelSpec"),
        (model_pb2.ModelSpec(), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (spec("foo"), "NOT_FOUND", "Servable not found for request: Latest(foo)"),
        (
            spec(version=50),
            "NOT_FOUND",
            "Servable not found for request: Specific(half_plus_two, 50)",
        ),
        (
            spec(version_label="x"),
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: x",
        ),
        (
            spec(signature_name="s"),
            "INVALID_ARGUMENT",
            "No signature was found with the name: s",
        ),
    ],
    ids=["no-spec", "no-name", "name", "version", "label", "signature"],
)
def test_a_model_that_is_not_there(ask, verb, model_spec, code, words):
    assert refused(ask, verb, model_spec) == (code, words)


@pytest.mark.parametrize(
    "examples",
    [
        pytest.param(input_pb2.Input(), id="G13-nothing"),
        pytest.param(rows(), id="G13-list"),
        pytest.param(rows_with_context({"x": 1.0}), id="G13-context"),
    ],
)
@pytest.mark.parametrize("verb", ["classify", "regress"])
def test_no_examples(ask, verb, examples):
    model_spec = spec(signature_name=f"{verb}_x_to_y")
    assert refused(ask, verb, model_spec, examples) == ("INVALID_ARGUMENT", "Input is empty.")


@pytest.mark.parametrize(
    ("verb", "signature", "words"),
    [
        ("classify", "scores_vector", "Tensor shape: [batch_size num_classes] but got [2]"),
        ("classify", "classes_vector", "Tensor shape: [batch_size num_classes] but got [2]"),
        ("classify", "scores_integers", "Expected scores Tensor of DT_FLOAT. Got: DT_INT32"),
        ("classify", "classes_integers", "Expected classes Tensor of DT_STRING. Got: DT_INT32"),
        ("classify", "scores_longer", "Expected scores output batch size of 2. Got: 3"),
        ("classify", "classes_longer", "Expected classes output batch size of 2. Got: 3"),
        ("classify", "widths", "Tensors class and score should match in dim_size(1). Got 2 vs. 3"),
        ("classify", "three_outputs", "Expected one or two output Tensors, found 3"),
        ("classify", "two_inputs", "Expected one input Tensor."),
        ("classify", "numbers", "Expects arg[0] to be float but string is provided"),
        ("regress", "outputs_matrix", "either [batch_size] or [batch_size, 1] but got [2,2]"),
        ("regress", "outputs_integers", "Expected output Tensor of DT_FLOAT.  Got: DT_INT32"),
        ("regress", "outputs_longer", "Input batch size did not match output batch size: 2 vs. 3"),
        ("regress", "three_outputs", "Expected one output Tensor."),
        ("regress", "two_inputs", "Expected one input Tensor."),
        ("regress", "neither", "No regression outputs found in SignatureDef: "),
        ("regress", "other_input", "No regression inputs found in SignatureDef: "),
    ],
)
def test_outputs_that_are_no_result(ask, verb, signature, words):  # G13
    code, message = refused(ask, verb, spec("examples", signature_name=signature))
    assert code == "INVALID_ARGUMENT"
    assert words in message


@pytest.fixture
def infer(prediction):
    """`infer(tasks, examples)` of MultiInference; a task is a pair of spec and method."""

    def infer(tasks, examples=TWO):
        request = inference_pb2.MultiInferenceRequest(input=examples)
        for model_spec, method in tasks:
            request.tasks.add(model_spec=model_spec, method_name=method)
        return prediction.MultiInference(request, timeout=60)

    return infer


def task(signature, method, model="half_plus_two", **fields):
    return spec(model, signature_name=signature, **fields), method


def test_multi_inference(infer):  # G12
    tasks = [
        task("regress_x_to_y", REGRESS, version=123),
        task("classify_x_to_y", CLASSIFY),
        task("classify_x2_to_y3", CLASSIFY),
    ]
    results = infer(tasks, rows({"x": 2.0}, {"x": 5.0, "x2": 4.0})).results
    assert [result.model_spec for result in results] == [
        spec(version=123, signature_name=model_spec.signature_name) for model_spec, _ in tasks
    ]
    assert numbers(results[0].regression_result) == [3.0, 4.5]
    assert numbers(results[1].classification_result) == [[3.0], [4.5]]
    assert numbers(results[2].classification_result) == [[3.0], [5.0]]


def test_multi_inference_merges_a_context(infer):
    response = infer([task("regress_x_to_y", REGRESS)], rows_with_context({"x": 2.0}, {}))
    assert numbers(response.results[0].regression_result) == [3.0]


VALID = task("regress_x_to_y", REGRESS)


@pytest.mark.parametrize(
    ("tasks", "code", "words"),
    [
        pytest.param([], "INVALID_ARGUMENT", "ModelSpec has no name specified.", id="G12-no-task"),
        pytest.param(
            [(None, REGRESS)],
            "INVALID_ARGUMENT",
            "ModelSpec has no name specified.",
            id="G12-no-spec",
        ),
        pytest.param(
            [task("regress_x_to_y", REGRESS, "foo")],
            "NOT_FOUND",
            "Servable not found for request: Latest(foo)",
            id="G12-name",
        ),
        pytest.param(
            [VALID, (None, CLASSIFY)],
            "INVALID_ARGUMENT",
            "Found ModelSpec with an empty model name.",
            id="G12-second-no-spec",
        ),
        pytest.param(
            [VALID, task("vector", REGRESS, "examples")],
            "INVALID_ARGUMENT",
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
            id="G12-two-models",
        ),
        pytest.param(
            [VALID, VALID],
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: regress_x_to_y",
            id="G12-duplicate",
        ),
        pytest.param(
            [VALID, task("s", CLASSIFY)],
            "INVALID_ARGUMENT",
            "Requested signature not found in model graph: s",
            id="G12-signature",
        ),
        pytest.param(
            [task("regress_x_to_y", tf.saved_model.PREDICT_METHOD_NAME)],
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
            id="G12-method",
        ),
        pytest.param(
            [VALID, task("classify_x_to_y", REGRESS)],
            "INVALID_ARGUMENT",
            "No regression outputs found in SignatureDef: ",
            id="G12-outputs",
        ),
        pytest.param(
            [task("vector", REGRESS, "examples"), task("features", CLASSIFY, "examples")],
            "INVALID_ARGUMENT",
            "Input tensor must be the same for all Signatures.",
            id="G12-input-tensor",
        ),
    ],
)
def test_tasks_that_do_not_go_together(infer, tasks, code, words):
    received, message = refused(infer, tasks)
    assert received == code
    assert words in message


def test_multi_inference_on_nothing(infer):  # G12
    assert refused(infer, [VALID], rows()) == ("INVALID_ARGUMENT", "Input is empty.")
