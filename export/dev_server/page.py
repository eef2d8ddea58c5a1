"""The page to ask models with in a browser, and the headers that keep it to itself."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

PATHS = ("/", "/index.html")
CONTENT_TYPE = "text/html; charset=utf-8"

_TEXT = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
_NAMES = "<!-- models -->"


def page(models: Iterable[str]) -> bytes:
    """The page, with a button for each of `models`.

    TensorFlow Serving lists its models nowhere, so elsewhere the page has to ask for a name.
    """
    buttons = (f'<button type="button">{escape(name)}</button>' for name in models)
    return _TEXT.replace(_NAMES, "\n".join(buttons)).encode()


def _hashed(tag: str) -> str:
    """The source expression for the page's one element of this name, which it names by its hash."""
    (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", _TEXT, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


# Its own script and style and no other, pictures of its own making, and any server's answers.
_POLICY = {
    "default-src": "'none'",
    "script-src": _hashed("script"),
    "style-src": _hashed("style"),
    "img-src": "data:",
    "connect-src": "http: https:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "X-Content-Type-Options": "nosniff",
}
