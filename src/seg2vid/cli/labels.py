"""The verbs about label maps: labels check, labels convert and labels spaces."""

from collections.abc import Iterator

from seg2vid.cli.inputs import check_size
from seg2vid.cli.options import LabelsCheck, LabelsConvert, LabelsSpaces
from seg2vid.cli.outputs import check_apart, check_replaced
from seg2vid.labels.convert import colourise
from seg2vid.labels.diagnosis import Diagnosis
from seg2vid.labels.doctor import diagnose
from seg2vid.labels.fit import fit_label_map
from seg2vid.labels.flat_colours import drawn_space
from seg2vid.labels.space import LabelSpace, get_label_space, list_label_spaces
from seg2vid.media.label_maps import read_label_map, read_picture
from seg2vid.media.pictures import write_image, write_label_map
from seg2vid.tools.errors import LabelMapError


def check(options: LabelsCheck) -> Iterator[str]:
    """Say what a label map is, what it holds, what is wrong and how to repair it."""
    space = get_label_space(options.label_space)
    picture = read_picture(options.file)
    found = diagnose(picture, space=space, encoding=options.encoding, palette=options.palette)
    if found.ids is None:
        if found.colours:
            yield _own_space(found, space)
        raise LabelMapError(f"{options.file}: {found.problems[0]}")
    shares = [f"  {name:<16} {share:7.2%}" for name, share in found.class_shares]
    # What is wrong is the answer here, so it is said on standard output like the rest.
    warnings = [f"warning: {warning}" for warning in found.warnings]
    yield "\n".join([f"{options.file}: {found.summary}", *shares, *warnings])
    if found.repair:
        yield f"to repair it: {found.repair}"
    elif not warnings:
        yield "nothing to repair: every command reads it as it is"


def _own_space(found: Diagnosis, space: LabelSpace) -> str:
    """Write the colours of a drawing as a label space, to be corrected and saved as a file."""
    drawn, shares = drawn_space(found.colours, space), dict(one[:2] for one in found.colours)
    lines = [
        f"  - {{name: {label.name}, colour: {list(label.colour)}, same_as: {label.same_as}}}"
        f"  # {shares[label.colour]:.1%}"
        for label in drawn.classes
    ]
    about = "# A label space for this drawing: correct `same_as`, save it as own.yaml"
    void = f"void: {{name: {space.void.name}, colour: {list(space.void.colour)}}}"
    return "\n".join([about, f"name: {drawn.name}", "classes:", *lines, void])


def list_spaces(options: LabelsSpaces) -> Iterator[str]:
    """List the classes of one label space, or of all that come with the package."""
    for name in [options.label_space] if options.label_space else list_label_spaces():
        space = get_label_space(name)
        yield f"{space.name}: {space.void_id} classes and {space.void.name}"
        for label in space.channels:
            red, green, blue = label.colour
            row = (
                f"  {label.id if label.id < space.void_id else space.file_value:>3}  "
                f"{label.name:<19} #{red:02x}{green:02x}{blue:02x}  {red:>3} {green:>3} {blue:>3}"
                f"  {'moves by itself' if label.foreground else '':<15}"
                f"  {f'same as {label.same_as}' if label.same_as else ''}"
            )
            yield row.rstrip()


def convert(options: LabelsConvert) -> Iterator[str]:
    """Write a label map as a palette PNG of train ids, or in plain class colours."""
    space = get_label_space(options.label_space)
    check_apart([options.output], [options.file])
    check_replaced([options.output], overwrite=options.overwrite)
    read = read_label_map(
        options.file, space=space, encoding=options.encoding, palette=options.palette
    )
    yield f"{options.file}: {read.diagnosis.summary}"
    yield from (f"warning: {warning}" for warning in read.diagnosis.warnings)
    ids = read.ids
    if options.size is not None:
        width, height = check_size(options.size)
        fitted = fit_label_map(
            ids, height=height, width=width, aspect=options.aspect, fill=space.void_id
        )
        ids = fitted.ids
        yield fitted.sentence
    if options.to == "colour" and options.output.suffix.lower() == ".png":
        write_image(options.output, colourise(ids, space))
    else:
        write_label_map(options.output, ids, space)
    yield f"wrote {options.output}"
