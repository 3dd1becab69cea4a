"""The verbs about label maps: labels check and labels convert."""

from collections.abc import Iterator

from seg2vid.cli.generate import check_size
from seg2vid.cli.options import LabelsCheck, LabelsConvert
from seg2vid.cli.outputs import check_apart, check_replaced
from seg2vid.labels.convert import colourise
from seg2vid.labels.fit import fit_label_map
from seg2vid.labels.space import get_label_space
from seg2vid.media.label_maps import read_label_map
from seg2vid.media.pictures import write_image, write_label_map


def check(options: LabelsCheck) -> Iterator[str]:
    """Say what a label map is, what it holds, what is wrong and how to repair it."""
    space = get_label_space(options.label_space)
    found = read_label_map(options.file, space=space, encoding=options.encoding).diagnosis
    shares = [f"  {name:<16} {share:7.2%}" for name, share in found.class_shares]
    # What is wrong is the answer here, so it is said on standard output like the rest.
    warnings = [f"warning: {warning}" for warning in found.warnings]
    yield "\n".join([f"{options.file}: {found.summary}", *shares, *warnings])
    yield f"to repair it: {found.repair}" if found.repair else "nothing to repair"


def convert(options: LabelsConvert) -> Iterator[str]:
    """Write a label map as a palette PNG of train ids, or in plain class colours."""
    space = get_label_space(options.label_space)
    check_apart([options.output], [options.file])
    check_replaced([options.output], overwrite=options.overwrite)
    read = read_label_map(options.file, space=space, encoding=options.encoding)
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
