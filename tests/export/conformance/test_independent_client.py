"""A client that others wrote, with messages of its own, understands the answers."""

import numpy as np
import pytest

ovmsclient = pytest.importorskip("ovmsclient", reason="ovmsclient is not installed")

MODEL, VERSION = "half_plus_two", 123


@pytest.fixture(params=["grpc", "http"])
def client(request, address):
    if request.param == "grpc":
        return ovmsclient.make_grpc_client(f"{address.host}:{address.grpc_port}")
    return ovmsclient.make_http_client(f"{address.host}:{address.rest_port}")


def test_status(client):
    found = client.get_model_status(MODEL, model_version=VERSION)
    assert found[VERSION]["state"] == "AVAILABLE" and found[VERSION]["error_code"] == 0


@pytest.mark.parametrize("client", ["grpc"], indirect=True)  # over HTTP it expects other names
def test_metadata(client):
    found = client.get_model_metadata(MODEL, model_version=VERSION)
    assert found["model_version"] == VERSION
    assert list(found["inputs"]) == ["x"] and list(found["outputs"]) == ["y"]


def test_predict(client):
    rows = np.array([1.0, 2.0, 5.0], np.float32)
    found = client.predict({"x": rows}, MODEL, model_version=VERSION)
    np.testing.assert_array_equal(found, [2.5, 3.0, 4.5])


def test_a_model_that_is_not_there(client):
    with pytest.raises(ovmsclient.ModelNotFoundError):
        client.predict({"x": np.zeros(1, np.float32)}, "nowhere", model_version=1)


def test_an_input_of_another_type(client):
    with pytest.raises(ovmsclient.InvalidInputError):
        client.predict({"x": np.array(["a"])}, MODEL, model_version=VERSION)
