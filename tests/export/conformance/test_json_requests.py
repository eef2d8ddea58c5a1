"""J: the JSON of a predict request becomes tensors, which a model of echoes shows."""

import json

import pytest

from tests.export.conformance.gaps import TOO_DEEP

DEEP = "[" * 500_000 + "]" * 500_000
NAN = float("nan")
INFINITY = float("inf")

HELLO, WORLD = {"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}
MIXED = {
    "signature_name": "mixed",
    "instances": [
        {
            "count": [[1, 2], [3, 4], [5, 6]],
            "word": ["a", "b"],
            "ratio": [1.5, NAN],
            "precise": [INFINITY],
        },
        {
            "count": [[7, 8], [9, 10], [11, 12]],
            "word": ["c", HELLO],
            "ratio": [-INFINITY, 4],
            "precise": [0.1],
        },
    ],
}
MIXED_ANSWER = [
    MIXED["instances"][0],
    {**MIXED["instances"][1], "word": ["c", "hello"], "ratio": [-INFINITY, 4.0]},
]


def same(first, second):
    """Equal as JSON, where one NaN equals another."""
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


def of(signature, **body):
    return {"signature_name": signature, **body}


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        pytest.param(
            {"instances": [[1, 2], [3, 4], [5, 6]]},
            {"predictions": [[1, 2], [3, 4], [5, 6]]},
            id="J1",
        ),
        pytest.param(
            f'{{"more": {DEEP}, "instances": [1]}}', {"predictions": [1]}, id="J2", marks=TOO_DEEP
        ),
        pytest.param({"more": [{}, [[]]], "instances": [1]}, {"predictions": [1]}, id="J2-shallow"),
        pytest.param(
            of("floats", instances=[1, 2.0, 3, 5.003]),
            {"predictions": [1.0, 2.0, 3.0, 5.003]},
            id="J4",
        ),
        pytest.param(  # both 1435774336, written with the nine digits that tell floats apart
            of("floats", instances=[1435774380, 1435774380.0]),
            {"predictions": [1.43577434e09, 1.43577434e09]},
            id="J5",
        ),
        pytest.param(
            '{"signature_name": "floats", "instances": [1.7e308, -1.7e308, 2.2e-308, -2.2e-308]}',
            {"predictions": [INFINITY, -INFINITY, 0.0, -0.0]},
            id="J6",
        ),
        pytest.param(of("strings", instances=["a", "é"]), {"predictions": ["a", "é"]}, id="J7"),
        pytest.param(
            of("strings", instances=[HELLO, WORLD]), {"predictions": ["hello", "world"]}, id="J8"
        ),
        pytest.param(
            of("strings", instances=[[HELLO], [WORLD]]),
            {"predictions": [["hello"], ["world"]]},
            id="J8-nested",
        ),
        pytest.param(
            of("strings", instances=[{"x": [[HELLO], [WORLD]]}]),
            {"predictions": [[["hello"], ["world"]]]},
            id="J8-named",
        ),
        pytest.param(MIXED, {"predictions": MIXED_ANSWER}, id="J9"),
        pytest.param(
            {"inputs": {"x": [[[1, 2], [3, 4], [5, 6]]]}},
            {"outputs": [[[1, 2], [3, 4], [5, 6]]]},
            id="J10-named",
        ),
        pytest.param(
            {"inputs": [[[1, 2], [3, 4], [5, 6]]]},
            {"outputs": [[[1, 2], [3, 4], [5, 6]]]},
            id="J10-bare",
        ),
        pytest.param({"inputs": 7}, {"outputs": 7}, id="J10-scalar"),
        pytest.param(of("strings", inputs=HELLO), {"outputs": "hello"}, id="J10-base64"),
        pytest.param(
            of("mixed", inputs={"count": [[1], [2]], "word": HELLO, "ratio": [], "precise": 2}),
            {"outputs": {"count": [[1], [2]], "word": "hello", "ratio": [], "precise": 2.0}},
            id="J11",
        ),
        pytest.param({"inputs": {"x": [1], "more": [2]}}, {"outputs": [1]}, id="J26-extra"),
        pytest.param(of("uint8s", instances=[255]), {"predictions": [255]}, id="J27-uint8"),
        pytest.param(
            of("int64s", instances=[2**63 - 1, -(2**63)]),
            {"predictions": [2**63 - 1, -(2**63)]},
            id="J27-int64",
        ),
        pytest.param(
            of("bools", instances=[True, False]), {"predictions": [True, False]}, id="J27-bool"
        ),
        pytest.param('{"instances": [1]} and more', {"predictions": [1]}, id="J30"),
    ],
)
def test_a_request_is_understood(post, body, answer):
    reply = post("echo", body)
    assert reply.code == 200, reply.text
    assert same(reply.document, answer)


def two(**body):
    """A body for the signature of four inputs."""
    return of("mixed", **body)


ROW = MIXED["instances"][1]
SHORT_ROW = {name: value for name, value in ROW.items() if name != "word"}


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        pytest.param(
            f'{{"signature_name": {DEEP}, "instances": [1]}}',
            400,
            "key must be a string value",
            id="J3",
            marks=TOO_DEEP,
        ),
        pytest.param(of([["x"]], instances=[1]), 400, "must be a string value", id="J3-shallow"),
        pytest.param("", 400, "JSON Parse error: The document is empty", id="J12"),
        pytest.param("instances = [1]", 400, "JSON Parse error: Invalid value", id="J13"),
        pytest.param("[1]", 400, "Is not object", id="J13-list"),
        pytest.param(of(5, instances=[1]), 400, "must be a string value", id="J14"),
        pytest.param(
            {"instances": [1], "inputs": [1]},
            400,
            "Not formatted correctly expecting only one of",
            id="J15",
        ),
        pytest.param(
            {"instances": [[1, 2], [3, 4, 5]]}, 400, "Expecting tensor size: 2 but got: 3", id="J16"
        ),
        pytest.param({"instances": [[1, 2], [[5, 6]]]}, 400, "Expecting shape", id="J17"),
        pytest.param({"instances": [1, [1]]}, 400, "Expecting shape", id="J18"),
        pytest.param({"instances": ["a", "b"]}, 400, "not of expected type: int32", id="J19"),
        pytest.param(
            {"instances": [{"x": 1}, [2]]},
            400,
            "Expecting object but got list at item 1",
            id="J20",
        ),
        pytest.param(
            {"instances": [[1], {"x": 1}]}, 400, "Expecting value/list but got object", id="J21"
        ),
        pytest.param(
            two(instances=[1]),
            400,
            "instances is a plain list, but expecting list of objects",
            id="J22",
        ),
        pytest.param(
            two(inputs=[1]),
            400,
            "inputs is a plain value/list, but expecting an object",
            id="J22-column",
        ),
        pytest.param(
            two(instances=[SHORT_ROW]),
            400,
            "keys must be equal to: count,precise,ratio,word",
            id="J23",
        ),
        pytest.param(
            two(instances=[{**ROW, "q": 1}]),
            400,
            "JSON object: does not have named input: q",
            id="J23-unknown",
        ),
        pytest.param({"instances": []}, 400, "No values in 'instances' array", id="J24"),
        pytest.param({"instances": {"x": 1}}, 400, "to be an list/array", id="J24-object"),
        pytest.param({"examples": [1]}, 400, "Missing 'inputs' or 'instances' key", id="J25"),
        pytest.param(
            two(inputs=SHORT_ROW), 400, "Missing named input: word in 'inputs' object.", id="J26"
        ),
        pytest.param({"instances": [1.0]}, 400, "not of expected type: int32", id="J27-decimal"),
        pytest.param({"instances": [2**31]}, 400, "not of expected type: int32", id="J27-large"),
        pytest.param(
            of("floats", instances=[True]), 400, "not of expected type: float", id="J27-true"
        ),
        pytest.param(of("bools", instances=[1]), 400, "not of expected type: bool", id="J27-one"),
        pytest.param(
            of("strings", instances=[3]), 400, "not of expected type: string", id="J27-number"
        ),
        pytest.param(
            of("strings", instances=[{"b64": "a?b="}]), 400, "Unable to base64 decode", id="J28"
        ),
        pytest.param(
            of("strings", inputs=[{"b64": 1}]),
            400,
            "not formatted correctly for base64 data",
            id="J28-number",
        ),
        pytest.param(of("halves", instances=[1.5]), 400, "to type: half", id="J29-row"),
        pytest.param(of("halves", inputs=[1.5]), 501, "to type: half", id="J29-column"),
    ],
)
def test_a_request_is_refused(post, body, code, words):
    reply = post("echo", body)
    assert reply.code == code
    assert words in reply.error
