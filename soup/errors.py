"""Two kinds of errors whose message is enough: a command prints it, without a traceback."""


class BadInput(Exception):
    """Something the user gave cannot be used; nothing was trained. Commands exit with 2."""


class Failure(Exception):
    """What was asked for was tried and did not succeed. Commands exit with 1."""
