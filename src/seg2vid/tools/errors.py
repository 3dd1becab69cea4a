"""The project's errors: every one says what was expected, what came and what to do, in one line."""

LONGEST = 600
"""Letters of each part of a message that are shown: a file may hold anything."""


class Seg2VidError(ValueError):
    """Base of all errors a user can cause and repair; its text is one line.

    With ``fix`` the text is put together by ``expected``, otherwise it is ``what`` alone.
    """

    def __init__(self, what: str, *, got: object = None, fix: str = "") -> None:
        super().__init__(printable(expected(what, got=got, fix=fix) if fix else what))


class LabelMapError(Seg2VidError):
    """A label map or label space that cannot be used as it is."""


class MediaError(Seg2VidError):
    """A picture, video or flow file that cannot be read or written."""


class ModelError(Seg2VidError):
    """A model that is unknown, damaged or does not fit what it is given."""


class TrainingError(Seg2VidError):
    """A training run that cannot begin or go on."""


class DivergenceError(TrainingError):
    """Losses or gradients that are no longer finite, or explode."""

    def __init__(
        self, what: str, *, got: str, terms: dict[str, float], norm: float, fix: str = ""
    ) -> None:
        """Keep the terms of the step and the norm of its gradient beside the message."""
        super().__init__(what, got=got, fix=fix or "see what was kept")
        self.what, self.got, self.terms, self.norm = what, got, terms, norm


def printable(text: str) -> str:
    """Return text as a terminal may show it: what controls it, such as in a name, as escapes."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def expected(what: str, *, got: object, fix: str) -> str:
    """Return the one-line message "Expected <what>; got <got>; <fix>." with white space folded.

    ``what`` and ``fix`` are prose without a full stop at the end; ``got`` is anything printable. At
    most ``LONGEST`` letters of each are shown.
    """
    parts = (what, str(got), fix)
    what, got, fix = (
        part if len(part) <= LONGEST else f"{part[: LONGEST - 3]}..." for part in parts
    )
    text = f"Expected {what}; got {got}; {fix}"
    return " ".join(text.split()).rstrip(".") + "."
