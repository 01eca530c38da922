"""The errors that a user can fix."""


class InputError(ValueError):
    """Bad input: the message says, in one line, what is wrong, where, and how to fix it.

    The command line prints the message and exits with code 2; notebooks show it as any exception. Characters of file
    names that would break the line or cannot be printed are escaped.

    Example:
        >>> import anchorkit as ak
        >>> try:
        ...     ak.load_detector("tiny_sd")
        ... except ak.InputError as error:
        ...     print(error)
        unknown detector 'tiny_sd': use tiny_ssd, ...
    """

    def __init__(self, message: object = "") -> None:
        super().__init__("".join(map(_printable, str(message))))


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


class MissingExtraError(ImportError):
    """An optional dependency is absent; the message names the extra that brings it.

    Example:
        >>> import anchorkit as ak
        >>> issubclass(ak.MissingExtraError, ImportError)
        True
    """
