"""The one error class for input that a person can mend."""


class InputError(ValueError):
    """Bad input: the message says, in one line, what is wrong, where, and how to mend it.

    The command line prints the message and exits with code 2; notebooks show it as any exception.
    """


class MissingExtraError(ImportError):
    """An optional dependency is absent; the message names the extra that brings it."""
