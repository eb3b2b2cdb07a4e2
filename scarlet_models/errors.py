"""The exception for users' mistakes: every function that reads what a user gave may raise it."""


class UserError(ValueError):
    """Bad input. The message is one line: what is wrong, where, and what to do; a command prints it and exits 2."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
