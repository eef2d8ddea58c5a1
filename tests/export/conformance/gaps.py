"""What the development server is known to lack."""

import pytest

_lacks = pytest.mark.dev_server_lacks

NO_LABELS = _lacks("No label is assigned in the development server.")
ONE_VERSION = _lacks("The development server loads the newest version only.")
TOO_DEEP = _lacks("Python's JSON parser stops at its recursion limit.")
SCALAR_STRING = _lacks(
    "A scalar string comes out of the session as NumPy's bytes, not as an object."
)
