"""Text that strangers wrote, made fit to be shown."""


def one_line(text: str, *, longest: int) -> str:
    """Return at most `longest` characters of a text, with all that is not printable spelled out.

    That is control characters, line ends, and those that turn the direction of what follows.
    """
    # What is cut off need not be looked at: a spelled-out character is no shorter than itself.
    shown = "".join(c if c.isprintable() else spelled(c) for c in text[: longest + 1])
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def first_line(text: str) -> str:
    """Return the first line of a text: what follows it in a message is detail."""
    return text.strip().split("\n", 1)[0]


def spelled(character: str) -> str:
    r"""Return a character as it is spelled in Python: ``\n``, ``\x1b`` or ``\u202e``."""
    return character.encode("unicode_escape").decode("ascii")
