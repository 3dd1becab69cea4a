"""How stages are trained and how a run is carried out: frozen dataclasses, each field an option."""

from dataclasses import dataclass

from seg2vid.tools.computing import DeviceName, PrecisionName
from seg2vid.tools.ranges import LARGEST_SEED, MOST_PROCESSES, ranged

LARGEST_BATCH = 65_536


@dataclass(frozen=True)
class TrainingConfig:
    """What the training of every stage has; a run's result depends on these fields alone."""

    steps: int = ranged(20_000, 1)
    """Optimiser steps; one step may read several batches, see ``accumulate``."""
    batch_size: int = ranged(4, 1, LARGEST_BATCH)
    """Clips in a batch, in each process."""
    accumulate: int = ranged(1, 1)
    """Batches whose gradients are added up for one step: a larger batch in the same memory."""
    learning_rate: float = ranged(6e-4, 0)
    warm_up: int = ranged(0, 0)
    """Steps over which the learning rate grows from 0."""
    decay_share: float = 0.4
    """Share of the steps, the last ones, over which the learning rate falls to a twentieth."""
    gradient_clip: float = 10.0
    """Largest norm of a gradient; longer ones are shortened to it, with 0 none is."""
    explosion: float = 1000.0
    """The run stops when the norm of the gradient is this many times its average for ten steps."""
    recompute: bool = False
    """Compute activations again for the gradient, not keep them: less memory, more time."""
    seed: int = ranged(0, 0, LARGEST_SEED)


@dataclass(frozen=True)
class FirstFrameTrainingConfig(TrainingConfig):
    """How the first-frame stage is trained."""

    discriminator_learning_rate: float = 4e-4
    discriminator_width: int = 32
    """Channels of the discriminator at half resolution; the deeper layers are multiples of it."""
    adversarial_start: int = 600
    """Step from which the discriminator is trained and heard; until then, colours settle."""
    momentum: float = 0.5
    """Adam's first momentum for the generator; a discriminator that learns fast wants none."""
    adversarial: float = 0.7
    """Weight of what the segmentation discriminator says of a painted frame."""
    patch: float = 0.0
    """Weight of what the patch discriminator says of it; with 0 there is none."""
    patch_rest: float = 0.75
    """Accuracy above which the patch discriminator trains in two steps of five only."""
    mixing_every: int = 1
    """Steps from one label-mixing term to the next: it is a third of the discriminator's work."""
    coarse_reconstruction: float = 0.0
    """Weight of the L1 distance of averages of 4 x 4 pixels: colours without a wish for blur."""
    label_mixing: float = 5.0
    """Weight of OASIS's label-mixing consistency in the discriminator's loss."""
    reconstruction: float = 10.0
    """Weight of the L1 distance to the real frame whose look was encoded."""
    perceptual: float = 4.0
    """Weight of the LPIPS distance to it."""
    kl: float = 0.1
    """Weight of the divergence of the encoded look from N(0, I), per number of noise."""
    free_bits: float = 0.0
    """Nats of divergence that cost nothing, for each number of noise (Kingma et al., 2016)."""
    discriminator_floor: float = 0.0
    """The discriminator rests while it tells painted pixels better than this cross entropy."""
    prior_share: float = 0.25
    """Share of each batch with drawn looks (about known ones, where the model keeps some, or from
    N(0, I)), seen by the discriminators alone.
    """
    void_share: float = 0.3
    """Share of samples with a random patch of the map hidden as void, which is painted over."""
    average_decay: float = 0.998
    """Decay of the moving average of the generator's weights, which is what is saved."""


@dataclass(frozen=True)
class MotionTrainingConfig(TrainingConfig):
    """How the motion stage is trained; the loss weights are those of ``losses.py``."""

    exact_motion: bool = True
    """Learn from the exact motion of clips that know it; without, from pictures. The paper's
    networks do so alone.
    """
    trained_frames: int = 4
    """Frames of each clip, chosen at random, whose motion is predicted in a step."""
    refined_frames: int = 2
    """Those of them that the refiner and the picture losses see."""
    flow: float = 1.0
    """Weight of the supervised flow loss, where the clip knows its exact motion."""
    depth: float = 1.0
    """Weight of the supervised loss of the first frame's depth, likewise."""
    camera: float = 1.0
    """Weight of the distance of its focal length and horizon, likewise."""
    path: float = 0.3
    """Weight of the distance of the camera's path, likewise."""
    objects: float = 0.3
    """Weight of the distance of the objects' paths, summed over objects, likewise."""
    drawn_paths: float = 0.3
    """Weight of how unlikely the real paths are among those drawn from N(0, I), likewise."""
    residual: float = 0.1
    """Weight of the flow that camera and objects do not explain, in units of ``flow_scale``."""
    reconstruction: float = 1.0
    """Weight of the masked forward and backward reconstruction (paper Eq. 3), where motion is not
    known exactly, as with the next three.
    """
    grid_consistency: float = 0.0
    """Weight of the forward-backward consistency (paper Eq. 5): L1, normalised units."""
    bilateral_smoothness: float = 0.0
    """Weight of the smoothness over sixteen neighbours of like colour (paper Eq. 4)."""
    authors_smoothness: bool = False
    """Apply that to the first frame without its border alone, as the authors' code does."""
    coarse_to_fine: float = 0.0
    """Weight of the same reconstruction of averages of 2 to 16 pixels, which pulls from further."""
    mask_penalty: float = 0.1
    """Weight of the penalty on hidden pixels, for decoders that choose what is hidden."""
    refinement: float = 2.0
    """Weight of the L1 distance between refined and real frames."""
    structure: float = 0.5
    """Weight of 1 - SSIM between them."""
    similarity: float = 0.0
    """Weight of SSIM and L1 as the authors' code joins them, summed over time."""
    features: float = 0.0
    """Weight of VGG features' L1 between warped and real frames."""
    perceptual: float = 1.0
    """Weight of LPIPS between refined and real frames."""
    labels: float = 0.2
    """Weight of the refiner's label prediction, where nothing was visible."""
    kl: float = 0.002
    """Weight of the divergence of q(z | clip) from N(0, I), summed over the numbers of z."""
    kl_batch_sum: bool = False
    """Sum it over the batch and divide by 1000, as the authors: it then grows with the batch."""
    kl_warm_up: int = 2_000
    """Steps over which that weight grows from 0."""
    free_bits: float = 0.0
    """Nats of divergence that cost nothing, for each number of z (Kingma et al., 2016)."""
    second_momentum: float = 0.99
    """Adam's second momentum."""
    frozen_norm: float = 0.2
    """Share of the steps, the last, in which batch norm uses its running figures, as in use."""
    hint_share: float = 0.4
    """Share of clips whose motion is hinted at: sparsely, object by object or densely."""
    colour: float = 0.25
    """Largest change of brightness, contrast, saturation, tint and gamma of a clip: a logarithm."""
    labels_only: float = 0.1
    """Share of clips whose depth is to be seen without the picture: labels carry over to photos."""


@dataclass(frozen=True)
class RefinerTrainingConfig(TrainingConfig):
    """How the refiner is trained on photographs."""

    steps: int = ranged(2_000, 1)
    learning_rate: float = ranged(3e-4, 0)
    warm_up: int = ranged(100, 0)
    discriminator_learning_rate: float = 4e-4
    refinement: float = 2.0
    """Weight of the L1 distance between what was painted and the photograph."""
    perceptual: float = 5.0
    """Weight of LPIPS between the photographs with what was painted and as they are."""
    labels: float = 0.2
    """Weight of the refiner's label prediction."""
    patch: float = 0.5
    """Weight of what the patch discriminator says of what was painted; with 0 there is none."""
    turned_share: float = 0.5
    """Share of drives that turn besides, so that a strip at a side is to be painted."""
    turn: float = 0.4
    """Largest such turn, in radians."""
    average_decay: float = 0.995
    """Decay of the moving average of the refiner's weights, which is what is saved."""


@dataclass(frozen=True)
class SegmenterTrainingConfig(TrainingConfig):
    """How the segmenter is trained."""

    steps: int = ranged(10_000, 1)
    batch_size: int = ranged(8, 1, LARGEST_BATCH)
    learning_rate: float = ranged(1e-3, 0)
    warm_up: int = ranged(300, 0)
    weight_decay: float = 0.02
    pretrained: bool = True
    """Begin with EfficientNet-Lite0's encoder as it learned ImageNet; else with random weights."""
    encoder_rate: float = ranged(0.3, 0)
    """Learning rate of the encoder, as a share of the rest's."""
    balance: float = 0.5
    """How much rare classes count: each with its share of the pixels to the power of minus this."""
    jaccard: float = 1.0
    """Weight of the soft Jaccard distance beside the cross-entropy."""
    zoom: float = 2.0
    """Largest enlargement; the smallest is one over its square root."""
    colour: float = 0.3
    """Largest change of brightness, contrast, saturation, tint and gamma: a logarithm."""
    sky: float = 0.5
    """Share of the samples that get another sky."""
    blur: float = 2.0
    """Radius of the strongest blur, in pixels."""
    noise: float = 0.03
    """Largest standard deviation of noise."""
    average_decay: float = 0.999


PAPER_TRAINING = MotionTrainingConfig(
    steps=98_000,
    batch_size=16,
    learning_rate=1e-3,
    exact_motion=False,
    refined_frames=4,
    residual=0.0,
    grid_consistency=1.0,
    bilateral_smoothness=0.01,
    structure=0.0,
    similarity=1.0,
    features=1.0,
    perceptual=0.0,
    labels=0.0,
    kl=0.1 * 16 / 1000,  # theirs is 0.1, a sum over a batch of 16 divided by 1000
    kl_warm_up=0,
    frozen_norm=0.0,
    hint_share=0.0,
    colour=0.0,
    labels_only=0.0,
)
"""The objective of the authors' code with its weights."""

OBJECTIVES: dict[str, MotionTrainingConfig] = {
    "geometry": MotionTrainingConfig(),
    "paper": PAPER_TRAINING,
}
"""How the motion stage is trained, by name: that of the networks' architecture if none is given.

Without terms of consistency for ``geometry``: a moving scene's flows and visibility agree anyway.
"""

STAGE_NAMES: dict[type, str] = {
    FirstFrameTrainingConfig: "first-frame",
    MotionTrainingConfig: "motion",
    RefinerTrainingConfig: "refiner",
    SegmenterTrainingConfig: "segmenter",
}
"""What each configuration trains, as the command line calls it."""


@dataclass(frozen=True)
class RunConfig:
    """How a run is carried out; only ``devices`` and ``nodes`` change what is learnt."""

    max_steps: int = ranged(0, 0)
    """Stop after so many steps, 0 for all; the schedule stays that of ``steps``."""
    save_every: int = ranged(250, 1)
    """Steps between two savings of state and weights."""
    sheet_every: int = ranged(250, 0)
    """Steps between two contact sheets and short videos."""
    validate_every: int = ranged(500, 0)
    """Steps between two validations, 0 for none."""
    validation_clips: int = ranged(16, 0)
    """Held-out clips to validate on, spread over all of them."""
    choose_by: str = ""
    """Figure of the validation by which the best weights are chosen (default: the stage's own)."""
    log_every: int = ranged(10, 1)
    """Steps between two lines of the log."""
    device: DeviceName = "auto"
    """What trains: auto takes GPUs where there are some (cuda, then mps), else the processor."""
    precision: PrecisionName = "auto"
    """What networks compute in: auto is float32; bfloat16 is half again as fast on AMD's processors
    with AVX-512 BF16, slower on Intel's without AMX, and newer GPUs have it, too.
    """
    devices: int = ranged(0, 0)
    """Processes on each machine: GPUs where there are some; 0 for every GPU, or one process."""
    nodes: int = ranged(1, 1)
    """Machines that train together; start the same command on each (torchrun, SLURM)."""
    workers: int = ranged(0, 0, MOST_PROCESSES)
    """Processes that read clips ahead; 0 reads in the training process."""
    compile: bool = False
    """Compile the networks first: minutes, then faster steps where the compiler helps."""
    measured_steps: int = ranged(3, 0)
    """Steps a copy of the networks takes first, to estimate time and memory; 0 for none."""
    dry_run: bool = False
    """Only say what would be trained, on what, how long and with how much memory and disk."""
