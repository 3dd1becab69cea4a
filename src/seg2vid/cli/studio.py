"""What ``seg2vid studio`` does: a page to paint in, on this machine."""

from collections.abc import Iterator

from seg2vid.cli.options import Studio
from seg2vid.models.weights import default_model
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.studio.serve import serve


def run(options: Studio) -> Iterator[str]:
    """Serve the studio until it is stopped; yield its address."""
    pipe = Seg2VidPipeline.from_pretrained(options.model or default_model())
    yield from serve(
        pipe, host=options.host, port=options.port, is_shown=options.open, streets=options.streets
    )
