"""The one exception for mistakes a user can mend."""


class UserError(ValueError):
    """Bad input. The message is one line that says what is wrong, where, and what to do; a command prints it and exits 2."""
