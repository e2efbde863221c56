"""Errors the user can fix."""


class UserError(Exception):
    """A wrong file, value or setting. The launch scripts print the message without a traceback and exit with status 2.

    The message names the place, the value found and the remedy. Any other exception is a bug and keeps its traceback.
    """
