"""Every metric of the kit by its key: its title, which direction is better, what it says."""

from dataclasses import dataclass, replace
from typing import Literal

from seg2vid.evaluation.metrics.image import GRIDS

Better = Literal["lower", "higher", "neither"]
Group = Literal["pictures", "distribution", "motion", "labels", "diversity"]


@dataclass(frozen=True)
class MetricInfo:
    """How a metric is shown."""

    key: str
    title: str
    unit: str
    better: Better
    group: Group
    about: str
    """What it means, and what it cannot say."""
    axis: Literal["frame", "samples"] = "frame"
    """What its curve runs over."""


OF_FIRST = ("fvd", "kvd", "fid", "kid", "inception", "warping", "miou", "accuracy", "class_iou")
"""How the keys of metrics begin that are measured on the first draw of each clip alone."""
SEGMENTED = "an independent segmenter's labels of the frames against"

_HIDDEN = {"backward": "the first frame does not show", "forward": "later frames hide"}
_SCORES = {
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "average_precision": "Average precision",
}
TABLE: dict[tuple[str, str, str, Better, Group], str] = {
    ("lpips", "LPIPS", "", "lower", "pictures"): (
        "Perceptual distance to the real frame (AlexNet, v0.1). A plausible other future counts"
        " as wrong."
    ),
    ("ms_ssim", "MS-SSIM", "", "higher", "pictures"): (
        "Structural similarity over scales, four at 256x128; not comparable with five scales."
    ),
    ("ssim", "SSIM", "", "higher", "pictures"): "Structural similarity; it rewards blur.",
    ("psnr", "PSNR", "dB", "higher", "pictures"): (
        "Squared error of pixels; a shift of one pixel ruins it, blur does not."
    ),
    ("sharpness", "Sharpness", "", "higher", "pictures"): (
        "Gradient energy of the frame where it shows the first one, over that of a perfect reading"
        " of it: 1 is as sharp as the first frame; grain counts as sharp. The real clip's own row"
        " renders what comes near anew."
    ),
    ("gradient_energy", "Gradient energy of first frames", "", "neither", "pictures"): (
        "Squared steps of brightness over those of the real photos: 1 is as rich in detail, less"
        " is smooth, more is grainy. It does not say whether the detail is right."
    ),
    **{
        (f"grid_{period}", f"Grid of {period} pixels", "", "neither", "pictures"): (
            f"Power at a period of {period} pixels over that of other frequencies as high, in first"
            " frames: much above the real photos' own row it is a grid of enlarging."
        )
        for period in GRIDS
    },
    ("fvd", "FVD", "", "lower", "distribution"): (
        "Fréchet distance of I3D logits of whole clips, first frame included: do the videos as "
        "a set look and move like the real ones? Biased upwards for few clips."
    ),
    ("fvd_unbiased", "FVD, N → ∞", "", "lower", "distribution"): (
        "FVD extrapolated to infinitely many clips; noisy for few."
    ),
    ("kvd", "KVD", "", "lower", "distribution"): (
        "Kernel distance of the same logits: unbiased, may be negative."
    ),
    ("fid", "FID", "", "lower", "distribution"): (
        "Fréchet distance of Inception features of single frames; blind to motion and order. "
        "Biased upwards for few pictures."
    ),
    ("fid_unbiased", "FID, N → ∞", "", "lower", "distribution"): (
        "FID extrapolated to infinitely many pictures; noisy for few."
    ),
    ("kid", "KID", "", "lower", "distribution"): (
        "Kernel distance of the same features: unbiased, may be negative."
    ),
    ("inception_score", "Inception Score", "", "higher", "distribution"): (
        "How varied and how sure ImageNet's classes are in the frames; it says little of streets."
    ),
    ("epe_backward", "End-point error, backward", "px", "lower", "motion"): (
        "Distance of backward flow from the exact one, where visible."
    ),
    ("epe_forward", "End-point error, forward", "px", "lower", "motion"): (
        "Distance of forward flow from the exact one, where visible."
    ),
    ("consistency", "Forward-backward error", "px", "lower", "motion"): (
        "Way there and back, where visible; no motion at all is perfectly consistent."
    ),
    ("warping_error", "Warping error", "", "lower", "motion"): (
        "Squared difference of neighbouring frames along RAFT's flow, where visible: flicker. A"
        " still picture has none."
    ),
    **{
        (f"hidden_{way}_{score}", f"Hidden pixels, {way}: {title}", "", "higher", "motion"): (
            f"{title} of finding the pixels that {what}."
        )
        for way, what in _HIDDEN.items()
        for score, title in _SCORES.items()
    },
    ("depth_error", "Depth, AbsRel", "", "lower", "motion"): (
        "Relative error of the first frame's depth, up to 60 m in truth, without the own car."
    ),
    ("depth_within", "Depth, within 1.25", "", "higher", "motion"): (
        "Share of the same pixels whose depth is right within a factor of 1.25."
    ),
    ("camera_distance", "Camera, way off", "m", "lower", "motion"): (
        "Distance of the camera from the true one in that frame. Of a drawn drive it asks for the"
        " one true drive."
    ),
    ("camera_turn", "Camera, turned off", "°", "lower", "motion"): (
        "Angle between the camera's yaw and the true one in that frame."
    ),
    ("speed", "Camera speed", "m/s", "neither", "motion"): "Way of the camera in a second.",
    ("turning", "Camera turning", "°/s", "neither", "motion"): (
        "Turn of the camera in a second, to the right."
    ),
    **{
        (f"{pace}_ks", f"{title}, drawn against true", "", "lower", "motion"): (
            "Largest difference of the distribution functions of draws and clips, 0 to 1: does the"
            " model drive as often that fast, or that way? p is asymptotic and takes all draws for"
            " independent; several of one clip are not quite."
        )
        for pace, title in (("speed", "Camera speed"), ("turning", "Camera turning"))
    },
    ("miou_truth", "mIoU, true labels", "", "higher", "labels"): (
        f"Mean IoU of {SEGMENTED} the true ones. The real frames' own row is the ceiling."
    ),
    ("accuracy_truth", "Pixel accuracy, true labels", "", "higher", "labels"): (
        f"Share of pixels of {SEGMENTED} the true ones."
    ),
    ("miou_own", "mIoU, own labels", "", "higher", "labels"): (
        f"Mean IoU of {SEGMENTED} those that come with the frames: do pictures and labels agree?"
    ),
    ("accuracy_own", "Pixel accuracy, own labels", "", "higher", "labels"): (
        f"Share of pixels of {SEGMENTED} those that come with the frames."
    ),
    ("miou_moved", "mIoU of own labels, true labels", "", "higher", "labels"): (
        "Mean IoU of the labels that come with the frames against the true ones."
    ),
    ("accuracy_moved", "Pixel accuracy of own labels, true labels", "", "higher", "labels"): (
        "Share of pixels of the labels that come with the frames against the true ones."
    ),
    ("pole_distance", "Poles, distance from a line", "px", "lower", "labels"): (
        "Mean distance of the moved pixels of each pole that was straight in the first frame from a"
        " line. A pole of w pixels has w/4 of its own: read it beside the real clip's row."
    ),
    ("pairwise_lpips", "Diversity, LPIPS", "", "neither", "diversity"): (
        "LPIPS between two futures of one clip. More is not better: noise is diverse."
    ),
    ("flow_spread", "Diversity, flow", "px", "neither", "diversity"): (
        "Distance between the flows of two futures of one clip."
    ),
    ("best_of_n", "LPIPS, best of n", "", "lower", "diversity"): (
        "Expected LPIPS of the best of n futures: does one of them come near the real one?"
    ),
    ("class_lpips", "LPIPS by class", "", "lower", "pictures"): (
        "LPIPS at the pixels of one true class."
    ),
    ("class_gradient", "Gradient energy by class", "", "neither", "pictures"): (
        "Squared steps of brightness in first frames over those of the real photos: 1 is as rich in"
        " detail."
    ),
    ("class_iou", "IoU by class", "", "higher", "labels"): (
        f"IoU of {SEGMENTED} the true ones, class by class."
    ),
    ("seconds", "Seconds a clip", "s", "lower", "diversity"): (
        "Time to make all futures of a clip, on the machine and threads of the provenance."
    ),
}
"""Key, title, unit, better direction and group of every metric, with what it says."""
METRICS = {
    head[0]: MetricInfo(
        *head, f"{about} Of the first draw alone." if head[0].startswith(OF_FIRST) else about
    )
    for head, about in TABLE.items()
}
METRICS["best_of_n"] = replace(METRICS["best_of_n"], axis="samples")
