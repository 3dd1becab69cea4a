"""Make the pictures of ``docs/gallery.md``: ``python examples/make_gallery.py SHARED_DATA``.

Each is one call of ``seg2vid``, which the page shows. ``SHARED_DATA`` holds the label maps and
photographs; what is made of them is committed, they are not.
"""

import subprocess
import sys
from pathlib import Path

MAPS = "label_maps"
PHOTOS = "driving_clips"
FRANKFURT, STUTTGART = f"{MAPS}/frankfurt_", f"{MAPS}/stuttgart_00_"
ENTRIES = (
    ("Frankfurt", f"generate {FRANKFURT}000000_000576_gtFine_labelIds.png --seed 3"),
    ("A square", f"generate {FRANKFURT}000000_011810_gtFine_labelIds.png --seed 1"),
    (
        "Between parked cars, told apart by an instance map",
        f"generate {FRANKFURT}000001_015328_gtFine_labelIds.png "
        f"--instances {FRANKFURT}000001_015328_gtFine_instanceIds.png --seed 2",
    ),
    (
        "A street, with its instance map",
        f"generate {FRANKFURT}000001_032711_gtFine_labelIds.png "
        f"--instances {FRANKFURT}000001_032711_gtFine_instanceIds.png --seed 2",
    ),
    ("Stuttgart", f"generate {STUTTGART}000001_gtFine_labelIds.png --seed 1"),
    ("A moment later", f"generate {STUTTGART}000011_gtFine_labelIds.png --seed 4"),
    ("Stuttgart with another look", f"generate {STUTTGART}000001_gtFine_labelIds.png --seed 7"),
    (
        "Told to drive slowly and to turn right",
        f"generate {FRANKFURT}000001_032711_gtFine_labelIds.png --seed 2 --camera forward=4,turn=4",
    ),
    (
        "The camera stands, the others move",
        f"generate {FRANKFURT}000000_000576_gtFine_labelIds.png --seed 3 --camera still",
    ),
    (
        "A photograph that moves",
        f"animate {PHOTOS}/cityscapes_seq5/000000.jpg "
        f"--labels {PHOTOS}/cityscapes_seq5/labels/000000.png --seed 1",
    ),
    (
        "A photograph of a motorway, labelled by the bundled segmenter",
        f"animate {PHOTOS}/udacity_project_a/000000.jpg --seed 1",
    ),
    (
        "The toy city's model, free for any use",
        f"generate {STUTTGART}000001_gtFine_labelIds.png --model toycity --seed 1",
    ),
)
SIZE = "--size 512x256"
"""Of what is painted; a photograph has its own."""
PAGE = """# Gallery

Videos of the bundled models, 25 frames: 512x256 where a label map is painted, photographs at their
own size, 256x128. None of the label maps or photographs was trained on; seeds were not picked from
many. `python examples/make_gallery.py
SHARED_DATA` makes them; each entry is one command. Pictures of `street` are for non-commercial
research: its card says what it was trained on.
"""


def main() -> None:
    """Make every picture that is named, then the page."""
    shared = Path(sys.argv[1])
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parents[1] / "docs"
    assets = target / "assets" / "gallery"
    assets.mkdir(parents=True, exist_ok=True)
    lines = [PAGE]
    for number, (title, command) in enumerate(ENTRIES):
        name = f"{number:02d}.webp"
        shown = f"{command} --frames 25"
        if command.startswith("generate"):
            shown = f"{shown} {SIZE}"
        words = f"{shown} --overwrite".split()
        given = [str(shared / word) if word.startswith((MAPS, PHOTOS)) else word for word in words]
        run = [sys.executable, "-m", "seg2vid", *given, "-o", str(assets / name)]
        subprocess.run(run, check=True)
        lines.append(
            f"## {title}\n\n![{title}](assets/gallery/{name})\n\n"
            f"```bash\nseg2vid {shown} -o video.webp\n```\n"
        )
    (target / "gallery.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
