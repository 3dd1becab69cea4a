"""Who works off the parts of a dataset: processes here, or a Ray cluster; one interface."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from seg2vid.tools.computing import Working
from seg2vid.tools.errors import Seg2VidError
from seg2vid.tools.processes import available_cores, work_in_processes
from seg2vid.tools.ray_cluster import RayCluster


class Processes:
    """Processes of this machine."""

    work = staticmethod(work_in_processes)

    def cores(self) -> int:
        """Return how many workers there are unless told."""
        return available_cores()

    def threads(self, workers: int) -> int:
        """Return how many threads each of so many workers has, to use all cores."""
        return max(1, available_cores() // workers)


Engine = Processes | RayCluster


@contextmanager
def open_engine(options: Working) -> Iterator[Engine]:
    """Give what the work is to be done by, as long as the block lasts.

    Raises ``Seg2VidError`` for an address without Ray, and without the extra ``scale``.
    """
    if options.engine == "ray":
        with closing(RayCluster(options.ray_address, on_gpus=options.device == "cuda")) as cluster:
            yield cluster
        return
    if options.ray_address is not None:
        what, fix = "--ray-address with --engine ray", "add --engine ray"
        raise Seg2VidError(what, got=f"--engine {options.engine}", fix=fix)
    yield Processes()
