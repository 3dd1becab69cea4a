"""Every metric of the kit by its key: its title, which direction is better, what it says."""

from dataclasses import dataclass
from typing import Literal

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


SEGMENTED = "an independent segmenter's labels of the frames against"

METRICS: dict[str, MetricInfo] = {
    info.key: info
    for info in (
        MetricInfo(
            "lpips",
            "LPIPS",
            "",
            "lower",
            "pictures",
            "Perceptual distance to the real frame (AlexNet, v0.1). A plausible other future "
            "counts as wrong.",
        ),
        MetricInfo(
            "ms_ssim",
            "MS-SSIM",
            "",
            "higher",
            "pictures",
            "Structural similarity over scales, four at 256x128; not comparable with five scales.",
        ),
        MetricInfo(
            "ssim", "SSIM", "", "higher", "pictures", "Structural similarity; it rewards blur."
        ),
        MetricInfo(
            "psnr",
            "PSNR",
            "dB",
            "higher",
            "pictures",
            "Squared error of pixels; a shift of one pixel ruins it, blur does not.",
        ),
        MetricInfo(
            "fvd",
            "FVD",
            "",
            "lower",
            "distribution",
            "Fréchet distance of I3D logits of whole clips, first frame included: do the videos "
            "as a set look and move like the real ones? Biased upwards for few clips.",
        ),
        MetricInfo(
            "fvd_unbiased",
            "FVD, N → ∞",
            "",
            "lower",
            "distribution",
            "FVD extrapolated to infinitely many clips; noisy for few.",
        ),
        MetricInfo(
            "kvd",
            "KVD",
            "",
            "lower",
            "distribution",
            "Kernel distance of the same logits: unbiased, may be negative.",
        ),
        MetricInfo(
            "fid",
            "FID",
            "",
            "lower",
            "distribution",
            "Fréchet distance of Inception features of single frames; blind to motion and order. "
            "Biased upwards for few pictures.",
        ),
        MetricInfo(
            "fid_unbiased",
            "FID, N → ∞",
            "",
            "lower",
            "distribution",
            "FID extrapolated to infinitely many pictures; noisy for few.",
        ),
        MetricInfo(
            "kid",
            "KID",
            "",
            "lower",
            "distribution",
            "Kernel distance of the same features: unbiased, may be negative.",
        ),
        MetricInfo(
            "inception_score",
            "Inception Score",
            "",
            "higher",
            "distribution",
            "How varied and how sure ImageNet's classes are in the frames; it says little of "
            "streets.",
        ),
        MetricInfo(
            "epe_backward",
            "End-point error, backward",
            "px",
            "lower",
            "motion",
            "Distance of backward flow from the exact one, where visible.",
        ),
        MetricInfo(
            "epe_forward",
            "End-point error, forward",
            "px",
            "lower",
            "motion",
            "Distance of forward flow from the exact one, where visible.",
        ),
        MetricInfo(
            "consistency",
            "Forward-backward error",
            "px",
            "lower",
            "motion",
            "Way there and back, where visible; no motion at all is perfectly consistent.",
        ),
        MetricInfo(
            "warping_error",
            "Warping error",
            "",
            "lower",
            "motion",
            "Squared difference of neighbouring frames along RAFT's flow, where visible: flicker. "
            "A still picture has none.",
        ),
        *(
            MetricInfo(
                f"hidden_{way}_{score}",
                f"Hidden pixels, {way}: {title}",
                "",
                "higher",
                "motion",
                f"{title} of finding the pixels that {what}.",
            )
            for way, what in (
                ("backward", "the first frame does not show"),
                ("forward", "later frames hide"),
            )
            for score, title in (
                ("precision", "Precision"),
                ("recall", "Recall"),
                ("f1", "F1"),
                ("average_precision", "Average precision"),
            )
        ),
        MetricInfo(
            "miou_truth",
            "mIoU, true labels",
            "",
            "higher",
            "labels",
            f"Mean IoU of {SEGMENTED} the true ones. The real frames' own row is the ceiling.",
        ),
        MetricInfo(
            "accuracy_truth",
            "Pixel accuracy, true labels",
            "",
            "higher",
            "labels",
            f"Share of pixels of {SEGMENTED} the true ones.",
        ),
        MetricInfo(
            "miou_own",
            "mIoU, own labels",
            "",
            "higher",
            "labels",
            f"Mean IoU of {SEGMENTED} those that come with the "
            "frames: do pictures and labels agree?",
        ),
        MetricInfo(
            "accuracy_own",
            "Pixel accuracy, own labels",
            "",
            "higher",
            "labels",
            f"Share of pixels of {SEGMENTED} those that come with the frames.",
        ),
        MetricInfo(
            "miou_moved",
            "mIoU of own labels, true labels",
            "",
            "higher",
            "labels",
            "Mean IoU of the labels that come with the frames against the true ones.",
        ),
        MetricInfo(
            "accuracy_moved",
            "Pixel accuracy of own labels, true labels",
            "",
            "higher",
            "labels",
            "Share of pixels of the labels that come with the frames against the true ones.",
        ),
        MetricInfo(
            "pairwise_lpips",
            "Diversity, LPIPS",
            "",
            "neither",
            "diversity",
            "LPIPS between two futures of one clip. More is not better: noise is diverse.",
        ),
        MetricInfo(
            "flow_spread",
            "Diversity, flow",
            "px",
            "neither",
            "diversity",
            "Distance between the flows of two futures of one clip.",
        ),
        MetricInfo(
            "best_of_n",
            "LPIPS, best of n",
            "",
            "lower",
            "diversity",
            "Expected LPIPS of the best of n futures: does one of them come near the real one?",
            axis="samples",
        ),
        MetricInfo(
            "class_lpips",
            "LPIPS by class",
            "",
            "lower",
            "pictures",
            "LPIPS at the pixels of one true class.",
        ),
        MetricInfo(
            "class_iou",
            "IoU by class",
            "",
            "higher",
            "labels",
            f"IoU of {SEGMENTED} the true ones, class by class.",
        ),
        MetricInfo(
            "seconds",
            "Seconds a clip",
            "s",
            "lower",
            "diversity",
            "Time to make all futures of a clip, on the machine and threads of the provenance.",
        ),
    )
}
