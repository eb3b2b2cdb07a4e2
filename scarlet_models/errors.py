"""The one exception for mistakes a user can mend."""


class UserError(ValueError):
    """Bad input. The message is one line: what is wrong, where, and what to do; a command prints it and exits 2."""


def first_line(error: BaseException) -> str:
    """What an error of a library says, in one line; its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
