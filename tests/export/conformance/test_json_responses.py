"""T: the tensors of an answer become JSON."""

import pytest

ROWS = [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 10], [11, 12]]]


def of(signature, **body):
    return {"signature_name": signature, **body}


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        pytest.param({"instances": ROWS}, {"predictions": ROWS}, id="T1-row"),
        pytest.param({"inputs": ROWS}, {"outputs": ROWS}, id="T1-column"),
        pytest.param({"instances": [1, 2]}, {"predictions": [1, 2]}, id="T2-row"),
        pytest.param({"inputs": [1, 2]}, {"outputs": [1, 2]}, id="T2-column"),
        pytest.param(
            of("only_bytes", instances=["hello"]),
            {"predictions": [{"b64": "aGVsbG8="}]},
            id="T3-row",
        ),
        pytest.param(
            of("only_bytes", inputs=[["hello"]]),
            {"outputs": [[{"b64": "aGVsbG8="}]]},
            id="T3-column",
        ),
        pytest.param(of("total", inputs=[[1, 2], [3, 4]]), {"outputs": 10}, id="T8-column"),
        pytest.param(
            of("named_bytes", instances=["hello", ""]),
            {
                "predictions": [
                    {"text": "hello", "text_bytes": {"b64": "aGVsbG8="}},
                    {"text": "", "text_bytes": {"b64": ""}},
                ]
            },
            id="T9-row",
        ),
        pytest.param(
            of("named_bytes", inputs=["hello"]),
            {"outputs": {"text": ["hello"], "text_bytes": [{"b64": "aGVsbG8="}]}},
            id="T9-column",
        ),
        pytest.param(
            of("two_lengths", inputs=[3, 4]),
            {"outputs": {"all": [3, 4], "first": [3]}},
            id="T10-column",
        ),
        pytest.param(of("no_rows", instances=[1, 2]), {"predictions": []}, id="T11"),
        pytest.param(of("no_rows", inputs=[1, 2]), {"outputs": []}, id="T11-column"),
    ],
)
def test_an_answer(post, body, answer):
    reply = post("echo", body)
    assert (reply.code, reply.document) == (200, answer)
    assert reply.content_type == "application/json"


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        pytest.param("9000000", "9e+06", id="T4-large"),
        pytest.param("999999", "999999.0", id="T4-whole"),
        pytest.param("0.00003", "3e-05", id="T4-small"),
        pytest.param("555557.5", "555557.5", id="T4-exact"),
        pytest.param("0.2", "0.2", id="T4-short"),
        pytest.param("NaN", "NaN", id="T5-nan"),
        pytest.param("Infinity", "Infinity", id="T5-infinity"),
        pytest.param("-Infinity", "-Infinity", id="T5-minus"),
    ],
)
@pytest.mark.parametrize("signature", ["floats", "doubles"])
def test_how_a_number_is_written(post, signature, sent, written):
    reply = post("echo", f'{{"signature_name": "{signature}", "inputs": {sent}}}')
    assert reply.code == 200
    assert "".join(reply.text.split()) == f'{{"outputs":{written}}}'


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(of("to_half", instances=[1.5]), "tensor type: half", id="T7-half"),
        pytest.param(of("to_complex", inputs=[1.5]), "tensor type: complex64", id="T7-complex"),
        pytest.param(of("total", instances=[1, 2]), "no shape information", id="T8-row"),
        pytest.param(of("two_lengths", instances=[3, 4]), "inconsistent batch size", id="T10-row"),
    ],
)
def test_an_answer_that_cannot_be_written(post, body, words):
    reply = post("echo", body)
    assert reply.code == 400
    assert words in reply.error
