"""Mistakes a command-line user can make and mend: told in one line, without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """A mistake of the user's; the command line prints its message and exits with status 2."""


class DataError(UserError):
    """A data file that cannot be used; the message names the file and, if it can, the line."""
