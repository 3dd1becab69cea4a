"""The segmenter's training: photos with human label maps, changed so much that it must generalise.

A stage like the other two, which ``run`` trains: apart from them, for evaluation and transfer.
"""

import copy
import itertools
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seg2vid.labels.convert import colourise
from seg2vid.media.given import to_planes
from seg2vid.models.patch_discriminator import load_backbone
from seg2vid.models.segmenter import Segmenter
from seg2vid.structures import Clip, Labels, Pictures
from seg2vid.training.config import SegmenterTrainingConfig
from seg2vid.training.losses import balanced_entropy, jaccard_distance
from seg2vid.training.stage import Stage, Terms

LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue are to the eye."""


class SegmenterStage(Stage):
    """The segmenter with what trains it."""

    stills = True

    share: Tensor
    """Share of the pixels that each class has in training."""

    training_config: SegmenterTrainingConfig

    def build(self) -> None:
        """Make the segmenter and its average."""
        # Half again as fast on processors: their convolutions want channels last.
        self.segmenter = Segmenter(self.model.segmenter, num_classes=self.space.void_id)
        if self.training_config.pretrained:
            self.segmenter.encoder.begin_with(load_backbone())
        self.segmenter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.segmenter).requires_grad_(False)
        self.register_buffer("share", torch.full((self.space.void_id,), 1 / self.space.void_id))

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        """AdamW; norms and biases do not decay, the encoder learns at a rate of its own."""
        config, groups = self.training_config, []
        encoder = {id(p) for p in self.segmenter.encoder.parameters()}
        for is_encoder, is_matrix in itertools.product((True, False), repeat=2):
            parameters = [
                p
                for p in self.segmenter.parameters()
                if p.requires_grad
                and (id(p) in encoder) == is_encoder
                and (p.ndim > 1) == is_matrix
            ]
            rate = config.learning_rate * (config.encoder_rate if is_encoder else 1)
            decay = config.weight_decay if is_matrix else 0.0
            if parameters:
                group = {"params": parameters, "weight_decay": decay}
                groups.append(group | {"lr": rate, "initial_lr": rate})
        return [torch.optim.AdamW(groups)]

    def turns(self, clip: Clip) -> Iterator[Terms]:
        """Yield the terms of the only turn; the running share of each class follows the batch."""
        labels, channels = clip.label_map.flatten(), self.space.num_channels
        count = torch.bincount(labels, minlength=channels)[:-1].float()
        decay = min(0.999, (1 + int(self.step)) / (10 + int(self.step)))
        self.share.lerp_(count / count.sum().clamp(min=1), 1 - decay)
        yield from super().turns(clip)

    def parts(self) -> dict[str, nn.Module]:
        """Return the segmenter."""
        return {"segmenter": self.segmenter}

    def compute_losses(self, clip: Clip) -> Terms:
        """Return cross-entropy, rare classes counting more, and the soft Jaccard distance."""
        config = self.training_config
        picture = clip.first_frame
        if "sky" in self.space.names:
            sky = clip.label_map == self.space.names.index("sky")
            picture = change_sky(picture, sky, config.sky)
        picture, label_map = augment(picture, clip.label_map, config, void_id=self.space.void_id)
        logits = self.segmenter(picture).float()
        # Every fourth pixel is enough for a ratio of areas, and costs a quarter.
        down, right = (int(torch.randint(2, ())) for _ in "yx")
        some = (..., slice(down, None, 2), slice(right, None, 2))
        entropy = balanced_entropy(logits, label_map, self.share, balance=config.balance)
        return {"entropy": entropy} | self.weigh(
            {"jaccard": lambda: jaccard_distance(logits[some], label_map[some])}
        )

    def boxes(self) -> dict[str, nn.Module]:
        """Ship the averaged network."""
        return {"segmenter": self.average}

    def contact_sheet(self, clip: Clip) -> Float[Tensor, "3 height width"]:
        """Rows: photos, their label maps, the predicted ones, a changed photo as in training."""
        torch.manual_seed(0)
        photos, labels, config = clip.first_frame, clip.label_map, self.training_config
        changed, _ = augment(photos, labels, config, void_id=self.space.void_id)
        maps = torch.stack((labels, self.average(photos).argmax(1)))
        coloured = to_planes(colourise(maps.cpu().numpy(), self.space)).to(labels.device)
        rows = torch.stack((photos, *coloured, changed))
        return rearrange(rows[:, :4], "row column c h w -> c (row h) (column w)")


@torch.no_grad()
def augment(
    picture: Pictures, label_map: Labels, config: SegmenterTrainingConfig, *, void_id: int
) -> tuple[Pictures, Labels]:
    """Change the view, colours and sharpness of each sample; pictures stay in [0, 1]."""
    picture, label_map = zoom(picture, label_map, config.zoom, void_id=void_id)
    picture = change_sharpness(picture, config.blur)
    picture = change_colours(picture, config.colour)
    noise = torch.rand(len(picture), 1, 1, 1, device=picture.device) * config.noise
    return (picture + noise * torch.randn_like(picture)).clamp(0, 1), label_map


def zoom(
    picture: Pictures, label_map: Labels, largest: float, *, void_id: int
) -> tuple[Pictures, Labels]:
    """Enlarge each sample by 1 / sqrt(``largest``) ... ``largest`` and look at a random part.

    What comes into view from outside is void.
    """
    batch, device = len(picture), picture.device
    low, high = -0.5 * np.log(largest), np.log(largest)
    size = torch.exp(torch.empty(batch, device=device).uniform_(low, high))
    stretch = torch.exp(torch.empty(batch, device=device).uniform_(-0.15, 0.15))
    scale = torch.stack((1 / (size * stretch), stretch / size), 1)
    # The part in view stays inside the picture where it is smaller, outside where it is larger.
    centre = (torch.rand(batch, 2, device=device) * 2 - 1) * (1 - scale).abs()
    matrix = torch.cat((torch.diag_embed(scale), centre.unsqueeze(-1)), 2)
    grid = F.affine_grid(matrix, list(picture.shape), align_corners=False)
    moved = F.grid_sample(picture, grid, padding_mode="reflection", align_corners=False)
    # Zero is what grid_sample gives outside: void there, ids one higher inside.
    ids = F.grid_sample((label_map + 1).float().unsqueeze(1), grid, "nearest", align_corners=False)
    ids = ids.squeeze(1).round().long()
    return moved, torch.where(ids == 0, void_id, ids - 1)


def change_colours(picture: Pictures, strength: float) -> Pictures:
    """Change brightness, contrast, saturation, tint and gamma, each by up to ``strength``."""

    def dice(*shape: int) -> Float[Tensor, "batch ..."]:
        span = torch.empty(len(picture), *shape, device=picture.device)
        return torch.exp(span.uniform_(-strength, strength))

    picture = picture.clamp(1e-3, 1) ** dice(1, 1, 1)
    picture = picture * dice(1, 1, 1) * dice(3, 1, 1) ** 0.4
    middle = picture.mean((1, 2, 3), keepdim=True)
    picture = middle + (picture - middle) * dice(1, 1, 1)
    luma = (picture * picture.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)
    # Some pictures turn grey altogether.
    is_coloured = torch.rand(len(picture), 1, 1, 1, device=picture.device) > 0.1
    return luma + (picture - luma) * dice(1, 1, 1) ** 1.5 * is_coloured


@torch.no_grad()
def change_sky(
    picture: Pictures, sky: Bool[Tensor, "batch height width"], share: float
) -> Pictures:
    """Give a ``share`` of the samples another sky where ``sky`` is true, in a vertical gradient.

    From white over grey to deep blue, some orange: elsewhere skies are not those of Europe.
    """
    batch, device = len(picture), picture.device

    def colours() -> Float[Tensor, "batch 3 1 1"]:
        light = torch.empty(batch, 1, device=device).uniform_(0.25, 1)
        depth = torch.rand(batch, 1, device=device) * 0.8
        blue = torch.cat((1 - depth, 1 - 0.55 * depth, torch.ones_like(depth)), 1)
        is_orange = torch.rand(batch, 1, device=device) < 0.15
        tint = torch.where(is_orange, blue.flip(1), blue)
        return (light * tint)[..., None, None]

    down = torch.linspace(0, 1, picture.shape[2], device=device).view(1, 1, -1, 1)
    gradient = torch.lerp(colours(), colours(), down)
    mask = sky.unsqueeze(1)
    mean = (picture * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp(min=1)
    texture = (picture - mean) * torch.rand(batch, 1, 1, 1, device=device)
    chosen = mask & (torch.rand(batch, 1, 1, 1, device=device) < share)
    return torch.where(chosen, (gradient + texture).clamp(0, 1), picture)


def change_sharpness(picture: Pictures, largest: float) -> Pictures:
    """Blur half of the samples, most of them slightly, some by up to ``largest`` pixels."""
    strength = torch.rand(len(picture), 1, 1, 1, device=picture.device)
    radius = max(1, round(largest))
    soft = F.avg_pool2d(picture, 2 * radius + 1, 1, radius, count_include_pad=False)
    small = F.interpolate(picture, scale_factor=0.5, mode="area")
    coarse = F.interpolate(small, picture.shape[2:], mode="bilinear", align_corners=False)
    blurred = torch.where(strength > 0.85, soft, coarse)
    mixture = torch.rand_like(strength)
    return torch.where(strength > 0.5, picture + mixture * (blurred - picture), picture)
