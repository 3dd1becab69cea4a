"""Which parts of a stage are trained, and which keep their weights."""

from collections.abc import Callable, Sequence

from torch import nn

from seg2vid.tools.errors import ModelError
from seg2vid.training.stage import Stage


def freeze(stage: Stage, parts: Sequence[str]) -> None:
    """Keep ``parts`` of the stage as they are: dotted names of modules, or how just one name ends.

    Their parameters get no gradient; their modules are marked ``is_frozen``, so that batch norm
    uses its running figures. What was frozen before stays so. Raises ``ModelError``, with nothing
    changed, for a part that is unknown or not the only one and where nothing would be trained.
    """
    frozen = [_find_part(stage, part) for part in parts]
    _freeze(stage, lambda path: any(_is_within(path, part) for part in frozen))


def freeze_all_but(stage: Stage, parts: Sequence[str]) -> None:
    """Keep all of the stage but ``parts`` as it is; names, marks and errors as in ``freeze``."""
    kept = [_find_part(stage, part) for part in parts]
    holds = [part.rsplit(".", depth)[0] for part in kept for depth in range(1, part.count(".") + 1)]
    _freeze(
        stage,
        lambda path: path not in holds and not any(_is_within(path, part) for part in kept),
    )


def _freeze(stage: Stage, is_frozen: Callable[[str], bool]) -> None:
    """Freeze the parameters and modules whose dotted name says so."""
    own = [pair for pair in stage.named_parameters() if not _is_within(pair[0], "average")]
    if not any(one.requires_grad and not is_frozen(path) for path, one in own):
        fix = "leave a part out of those that are frozen"
        raise ModelError("a part that is trained", got="all parts frozen", fix=fix)
    for path, parameter in own:
        if is_frozen(path):
            parameter.requires_grad_(False)
    for path, module in _modules(stage).items():
        if is_frozen(path):
            module.is_frozen = True  # type: ignore[assignment]


def _find_part(stage: Stage, part: str) -> str:
    """Return the dotted name of the module that is called ``part`` or, alone, ends in it."""
    paths = list(_modules(stage))
    found = [part] if part in paths else [path for path in paths if path.endswith(f".{part}")]
    if len(found) == 1:
        return found[0]
    shown = ", ".join(path for path in paths if path.count(".") < 2)
    got = f"{part!r}, which may be {' or '.join(found[:3])}" if found else repr(part)
    raise ModelError(f"a part of the stage: {shown}", got=got, fix="write its whole name")


def _modules(stage: Stage) -> dict[str, nn.Module]:
    """Return the modules that are trained, by dotted name: an average follows, judges judge."""
    return {
        path: module
        for path, module in stage.named_modules()
        if path and path.split(".")[0] not in ("average", "judges")
    }


def _is_within(path: str, part: str) -> bool:
    """Return whether a dotted name is that of ``part`` or of something in it."""
    return f"{path}.".startswith(f"{part}.")
