"""How good first frames are that were painted at several times the model's size.

    python benchmarks/large_frames.py --data SHARED_DATA --judges JUDGES
    python benchmarks/large_frames.py --data SHARED_DATA --judges JUDGES --scales 1 2 4 --photos 100

The label maps are those of the protocol ``cityscapes-stills``, enlarged with smooth outlines. What
was painted is brought to the photographs' size by means of pixels, and judged there beside what is
painted at that size: FID against the photographs, labels as the bundled segmenter sees them against
the map, and gradient energy as a multiple of the photographs'. No photograph is larger, so that
detail beyond their pixels is judged by eye alone.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from seg2vid.evaluation.metrics.frechet import frechet_distance
from seg2vid.evaluation.metrics.semantics import confusion_matrix
from seg2vid.evaluation.protocol import get_protocol
from seg2vid.evaluation.work import Setup
from seg2vid.pipeline import Seg2VidPipeline


def enlarge(ids: Tensor, classes: int, scale: int) -> Tensor:
    """Return a larger label map whose outlines have no stairs."""
    one_hot = F.one_hot(ids, classes).movedim(-1, 1).float()
    return F.interpolate(one_hot, scale_factor=scale, mode="bicubic").argmax(1)


def gradient(frame: Tensor) -> float:
    """Return the mean absolute difference of neighbouring pixels."""
    return float(frame.diff(dim=2).abs().mean() + frame.diff(dim=3).abs().mean()) / 2


@torch.inference_mode()
def main() -> None:
    """Paint every map at every scale, then print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of cityscapes_stills")
    parser.add_argument("--judges", type=Path, required=True, help="folder of the judges' weights")
    parser.add_argument("--model", default="street", help="bundled name, folder or file")
    parser.add_argument("--scales", type=int, nargs="+", default=[1, 2], help="times the size")
    parser.add_argument("--photos", type=int, help="the first so many; all by default")
    options = parser.parse_args()
    given = {"data": options.data, "judges": options.judges, "limit": options.photos}
    setup = Setup(get_protocol("cityscapes-stills"), Path(), model=options.model, **given)
    judges, cases = setup.measurement.judges, setup.cases
    pipe = Seg2VidPipeline.from_pretrained(options.model)
    void = pipe.label_space.void_id
    sides = ("photographs", *(f"scale {scale}" for scale in options.scales))
    features: dict[str, list[Tensor]] = {side: [] for side in sides}
    energy = dict.fromkeys(sides, 0.0)
    matrix = {side: torch.zeros(void, void + 1) for side in sides}
    for number in tqdm(range(len(cases.names)), unit="map"):
        clip = cases.read(number)
        for side in sides:
            frame = clip.first_frame
            if side != "photographs":
                scale = int(side.split()[1])
                ids = enlarge(clip.label_map, void + 1, scale)
                painted = pipe(ids, num_frames=1, seed=1000 * number, scale=scale).first_frame
                frame = F.avg_pool2d(painted, scale)
            features[side].append(judges.inception(frame).features[0].double())
            energy[side] += gradient(frame)
            said = judges.segmenter.probabilities(frame).argmax(1)
            seen = confusion_matrix(said, clip.label_map, num_classes=void, void_id=void)
            matrix[side] += seen[0]
    for side in sides:
        hits, asked = matrix[side].diagonal(), matrix[side].sum()
        either = matrix[side].sum(1) + matrix[side][:, :-1].sum(0) - hits
        distance = "   -"
        if side != "photographs":
            pair = (torch.stack(features[one]) for one in (side, "photographs"))
            distance = f"{float(frechet_distance(*pair)):4.1f}"
        print(
            f"{side:12s} FID {distance}, mean IoU {float((hits / either.clamp(min=1)).mean()):.3f},"
            f" pixel accuracy {float(hits.sum() / asked):.3f},"
            f" gradient energy {energy[side] / energy['photographs']:.2f}"
        )


if __name__ == "__main__":
    main()
