"""What the development server is known to lack."""

import pytest

TOO_DEEP = pytest.mark.dev_server_lacks("Python's JSON parser stops at its recursion limit.")
