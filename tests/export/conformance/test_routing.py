"""R: the paths of REST, and what is asked of a model there."""

import gzip
import json

import pytest

HALF = "/v1/models/half_plus_two"
ROWS = {"instances": [[1, 2], [3, 4]]}
ANSWER = [[2.5, 3.0], [3.5, 4.0]]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("GET", "/v1/foo", id="R1-get"),
        pytest.param("POST", "/v1/foo", id="R1-post"),
        pytest.param("GET", "/v1/models/a/b", id="R3"),
        pytest.param("GET", f"{HALF}:predict", id="R4"),
        pytest.param("POST", f"{HALF}/version/50:predict", id="R5-version"),
        pytest.param("POST", f"{HALF}/versions/HELLO:predict", id="R5-words"),
        pytest.param("POST", f"{HALF}/versions/50/labels/x:predict", id="R5-both"),
        pytest.param("GET", f"{HALF}/versions/50/labels/x", id="R5-both-get"),
        pytest.param("GET", f"{HALF}/label/x", id="R5-label"),
        pytest.param("POST", f"{HALF}:explain", id="R5-verb"),
        pytest.param("POST", f"{HALF}/metadata", id="R7"),
        pytest.param("PUT", HALF, id="R7-put"),
        pytest.param("DELETE", HALF, id="R7-delete"),
    ],
)
def test_a_path_of_no_meaning(rest, method, path):
    reply = rest(method, path, "{}" if method == "POST" else None)
    assert (reply.code, reply.error) == (400, f"Malformed request: {method} {path}")


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        pytest.param("/v1/models", 400, "Missing model name in request.", id="R2"),
        pytest.param(
            f"{HALF}/versions/18446744073709551615",
            400,
            "Failed to convert version: 18446744073709551615 to numeric.",
            id="R6",
        ),
        pytest.param("/v1/models/a%20b", 404, "Could not find any versions of model a b", id="R8"),
        pytest.param(f"{HALF}/versions/5", 404, "Could not find version 5 of model", id="R14"),
        pytest.param(
            "/v1/models/foo/metadata",
            404,
            "Servable not found for request: Latest(foo)",
            id="R14-metadata",
        ),
    ],
)
def test_a_model_that_is_not_there(rest, path, code, words):
    reply = rest("GET", path)
    assert reply.code == code
    assert words in reply.error


@pytest.mark.parametrize("verb", ["predict", "classify", "regress"])
@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        pytest.param(
            "/v1/models/foo", 404, "Servable not found for request: Latest(foo)", id="R11"
        ),
        pytest.param(
            f"{HALF}/versions/50",
            404,
            "Servable not found for request: Specific(half_plus_two, 50)",
            id="R11-version",
        ),
        pytest.param(
            f"{HALF}/labels/none", 400, "Unrecognized servable version label: none", id="R11-label"
        ),
        pytest.param(
            f"{HALF}/labels/a%2Fb", 400, "Unrecognized servable version label: a/b", id="R8-label"
        ),
    ],
)
def test_a_request_of_a_model_that_is_not_there(rest, verb, path, code, words):
    body = {"instances": [1.0]} if verb == "predict" else {"examples": [{"x": 1.0}]}
    reply = rest("POST", f"{path}:{verb}", body)
    assert reply.code == code
    assert words in reply.error


@pytest.mark.parametrize("verb", ["predict", "classify", "regress"])
def test_a_body_is_parsed_before_its_model_is_found(rest, verb):
    reply = rest("POST", f"/v1/models/foo:{verb}", "{")
    assert reply.code == 400
    assert "JSON Parse error" in reply.error


def test_examples_are_read_before_their_model_is_found(rest):
    reply = rest("POST", "/v1/models/foo:classify", {"examples": [5]})
    assert reply.code == 400
    assert "Example must be JSON object" in reply.error


def test_paths_do_not_depend_on_case_and_queries_are_ignored(rest):  # R9
    assert rest("GET", "/V1/Models/half_plus_two?x=1").code == 200
    assert rest("POST", "/V1/MODELS/half_plus_two/Versions/123:predict?x=1", ROWS).code == 200


@pytest.mark.parametrize("verb", ["Predict", "CLASSIFY", "Regress"])
def test_a_verb_in_capitals_is_none(rest, verb):  # R9
    reply = rest("POST", f"{HALF}:{verb}", ROWS)
    assert (reply.code, reply.error) == (400, f"Malformed request: POST {HALF}:{verb}")


def test_metadata_in_capitals_is_the_status(rest):  # R9
    assert rest("GET", f"{HALF}/METADATA").document == available("123")


def test_a_page_elsewhere(rest):  # R10
    reply = rest("GET", "/statuspage")
    assert reply.code == 404
    with pytest.raises(json.JSONDecodeError):
        json.loads(reply.text)


CHOICES = [
    pytest.param("", id="latest"),
    pytest.param("/versions/123", id="version"),
    pytest.param("/versions/000123", id="zeros"),
    pytest.param("/labels/stable", id="label"),
]


@pytest.mark.parametrize("choice", CHOICES)
def test_predict(rest, choice):  # R12
    for body, answer in [
        (ROWS, {"predictions": ANSWER}),
        ({**ROWS, "signature_name": "serving_default"}, {"predictions": ANSWER}),
        ({"inputs": {"x": ROWS["instances"]}}, {"outputs": ANSWER}),
    ]:
        reply = rest("POST", f"{HALF}{choice}:predict", body)
        assert (reply.code, reply.document) == (200, answer)


def test_an_unknown_signature(rest):
    reply = rest("POST", f"{HALF}:predict", {"signature_name": "s", **ROWS})
    assert reply.code == 400
    assert reply.error == 'Serving signature name: "s" not found in signature def'


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize(
    ("verb", "signature", "feature", "value", "answer"),
    [
        ("regress", "regress_x_to_y", "x", 80.0, 42.0),
        ("regress", "regress_x2_to_y3", "x2", 80.0, 43.0),
        ("classify", "classify_x_to_y", "x", 20.0, [["", 12.0]]),
        ("classify", "classify_x2_to_y3", "x2", 20.0, [["", 13.0]]),
    ],
)
def test_classify_and_regress(rest, choice, verb, signature, feature, value, answer):  # R13
    body = {"signature_name": signature, "examples": [{feature: value}]}
    reply = rest("POST", f"{HALF}{choice}:{verb}", body)
    assert (reply.code, reply.document) == (200, {"results": [answer]})


@pytest.mark.parametrize("verb", ["classify", "regress"])
def test_the_default_signature_takes_no_examples(rest, verb):
    reply = rest("POST", f"{HALF}:{verb}", {"examples": [{"x": 1.0}]})
    assert reply.code == 400
    assert "inputs found in SignatureDef" in reply.error


def available(*versions):
    return {
        "model_version_status": [
            {
                "version": version,
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
            for version in versions
        ]
    }


@pytest.mark.parametrize("choice", ["", "/versions/123", "/labels/any"])
def test_status(rest, choice):  # R14
    reply = rest("GET", f"{HALF}{choice}")
    assert (reply.code, reply.document) == (200, available("123"))


def test_status_of_all_versions(rest):  # R14
    assert rest("GET", "/v1/models/pair").document == available("2", "1")


@pytest.mark.parametrize("choice", CHOICES)
def test_metadata(rest, choice):  # R14
    document = rest("GET", f"{HALF}{choice}/metadata").document
    assert document["model_spec"] == {
        "name": "half_plus_two", "signature_name": "", "version": "123",
    }  # fmt: skip
    signatures = document["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "regress_x_to_y", "classify_x_to_y"} <= set(signatures)
    assert signatures["classify_x_to_y"]["method_name"] == "tensorflow/serving/classify"
    assert signatures["regress_x_to_y"]["inputs"]["inputs"] == {
        "dtype": "DT_STRING",
        "name": "serialized:0",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
    }


def test_a_zipped_body(rest):  # R15
    body = gzip.compress(json.dumps(ROWS).encode())
    reply = rest("POST", f"{HALF}:predict", body, **{"Content-Encoding": "gzip"})
    assert (reply.code, reply.document) == (200, {"predictions": ANSWER})


def test_options(rest):  # R16
    assert rest("OPTIONS", HALF, Origin="http://a.example").code == 200
    reply = rest("OPTIONS", HALF)
    assert reply.code == 400
    assert "Origin header is missing in CORS preflight" in reply.text
