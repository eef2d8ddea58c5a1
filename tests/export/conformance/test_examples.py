"""C: the JSON of classify and regress."""

import pytest

NAN = float("nan")
HELLO = {"b64": "aGVsbG8="}


def features(context=None, *examples, **more):
    body = {"signature_name": "features", "examples": list(examples), **more}
    return body if context is None else {**body, "context": context}


def labels(*rows):
    """An answer of labels without scores."""
    return {"results": [[[label, 0.0] for label in row] for row in rows]}


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        pytest.param(
            features(None, {"x": 1.5, "n": [3, 4], "s": "a"}, {"x": [2.5], "s": HELLO}),
            labels(["1.5", "3", "4", "a"], ["2.5", "-1", "-1", "hello"]),
            id="C1",
        ),
        pytest.param(features(None, {}), labels(["-1", "-1", "-1", "none"]), id="C1-empty"),
        pytest.param(
            features(None, {"x": [], "unknown": "b"}, more=1),
            labels(["-1", "-1", "-1", "none"]),
            id="C1-nothing",
        ),
        pytest.param(
            features({"x": NAN, "s": [HELLO]}, {"n": [5, True]}, {"n": [False, 6], "x": 0.5}),
            labels(["nan", "5", "1", "hello"], ["0.5", "0", "6", "hello"]),
            id="C2",
        ),
        pytest.param(
            features({"s": "context", "n": [1, 2]}, {"s": "example"}, {"n": [3, 4]}),
            labels(["-1", "1", "2", "example"], ["-1", "3", "4", "context"]),
            id="C2-example-wins",
        ),
        pytest.param(features({}, {"x": 2.5}), labels(["2.5", "-1", "-1", "none"]), id="C2-empty"),
        pytest.param(
            features(None, {"n": [2**63 - 1, -(2**63)]}),
            labels(["-1", str(2**63 - 1), str(-(2**63)), "none"]),
            id="C2-int64",
        ),
        pytest.param(
            {"signature_name": "labels_and_scores", "examples": [{}, {}]},
            {"results": [[["a", 0.25], ["a", 0.25]]] * 2},
            id="C4-both",
        ),
    ],
)
def test_classify(post, body, answer):
    reply = post("examples", body, "classify")
    assert (reply.code, reply.document) == (200, answer)
    assert reply.content_type == "application/json"


@pytest.mark.parametrize("signature", ["vector", "column"])
def test_regress(post, signature):  # C4
    body = {"signature_name": signature, "examples": [{}, {"x": 1.0}]}
    reply = post("examples", body, "regress")
    assert (reply.code, reply.document) == (200, {"results": [1.5, 1.5]})


def example(value):
    return {"examples": [{"x": value}]}


@pytest.mark.parametrize("verb", ["classify", "regress"])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param("", "JSON Parse error: The document is empty", id="C3-empty"),
        pytest.param({"signature_name": ["s"], "examples": [{}]}, "must be a string", id="C3-name"),
        pytest.param(
            {"context": [{}], "examples": [{}]},
            "Example must be JSON object but got JSON Array",
            id="C3-context",
        ),
        pytest.param({}, "key 'examples' is expected and was not found", id="C3-absent"),
        pytest.param(
            {"instances": [1]}, "key 'examples' is expected and was not found", id="C3-other"
        ),
        pytest.param(
            {"examples": {"x": 1.0}},
            "Expecting 'examples' value to be an list/array",
            id="C3-object",
        ),
        pytest.param({"examples": []}, "'examples' value is an empty array", id="C3-none"),
        pytest.param(
            {"examples": [[{"x": 1.0}]]},
            "Example must be JSON object but got JSON Array",
            id="C3-list-of-list",
        ),
        pytest.param(
            {"examples": [{}, 5]}, "Example must be JSON object but got JSON Number", id="C3-number"
        ),
        pytest.param(
            example(None), "Feature: x has element with unexpected JSON type: Null", id="C3-null"
        ),
        pytest.param(
            example([10, 10.0]),
            "Unexpected element type in feature: x expecting type: int64",
            id="C3-int-float",
        ),
        pytest.param(
            example([1.5, 10]),
            "Unexpected element type in feature: x expecting type: float",
            id="C3-float-int",
        ),
        pytest.param(
            example(["a", True]),
            "Unexpected element type in feature: x expecting type: bytes",
            id="C3-bytes-bool",
        ),
        pytest.param(
            example([1.5, HELLO]),
            "Unexpected element type in feature: x expecting type: float",
            id="C3-float-bytes",
        ),
        pytest.param(
            example({"y": 1}),
            "Feature: x has element with unexpected JSON type: Object",
            id="C3-feature-object",
        ),
        pytest.param(
            example({"b64": 1}),
            "Feature: x has element with unexpected JSON type: Object",
            id="C3-base64-number",
        ),
        pytest.param(example([HELLO, {"b64": "?"}]), "Unable to base64 decode", id="C3-base64"),
        pytest.param(
            example([[1]]),
            "Feature: x has element with unexpected JSON type: Array",
            id="C3-nested",
        ),
        pytest.param(example(18446744073709551603), "Only int64_t is supported", id="C3-uint64"),
    ],
)
def test_a_body_is_refused(post, verb, body, words):
    reply = post("examples", body, verb)
    assert reply.code == 400
    assert words in reply.error


@pytest.mark.parametrize(
    ("verb", "signature", "words"),
    [
        ("classify", "absent", "No signature was found with the name: absent"),
        ("regress", "absent", "No signature was found with the name: absent"),
        ("classify", "two_inputs", "Expected one input Tensor."),
        ("regress", "two_inputs", "Expected one input Tensor."),
        ("classify", "three_outputs", "Expected one or two output Tensors, found 3"),
        ("regress", "three_outputs", "Expected one output Tensor."),
        ("classify", "other_input", "No classification inputs found in SignatureDef: "),
        ("regress", "other_input", "No regression inputs found in SignatureDef: "),
        ("classify", "neither", 'outputs to contain at least one of "classes" or "scores".'),
        ("regress", "neither", "No regression outputs found in SignatureDef: "),
        ("classify", "numbers", "Expects arg[0] to be float but string is provided"),
    ],
)
def test_a_signature_is_refused(post, verb, signature, words):
    reply = post("examples", {"signature_name": signature, "examples": [{}]}, verb)
    assert reply.code == 400
    assert words in reply.error


def test_a_feature_of_the_wrong_type_is_for_the_graph_to_refuse(post):
    reply = post("examples", features(None, {"x": 1}), "classify")
    assert reply.code == 400
    assert "Data types don't match" in reply.error
