"""Released checkpoints: a random one in the authors' layout moves a picture as theirs would."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg2vid.cli import main as cli
from seg2vid.models.animator import Animator
from seg2vid.models.authors import convert_authors
from seg2vid.models.checkpoint import load_box, load_checkpoint
from seg2vid.models.paper import PaperMotionEncoder
from seg2vid.structures import Latent
from seg2vid.tools.errors import ModelError

T = 2


def block(before: int, after: int, kernel: int, stride: int, *, bias: bool) -> list[nn.Module]:
    """Convolution, batch norm, leaky ReLU."""
    convolution = nn.Conv2d(before, after, kernel, stride, (kernel - 1) // 2, bias=bias)
    return [convolution, nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]


def main(*layers: nn.Module) -> nn.ModuleDict:
    """A chain under the name that theirs have."""
    return nn.ModuleDict({"main": nn.Sequential(*layers)})


def up(before: int, after: int, kernel: int = 3) -> nn.ModuleDict:
    """Two convolutions, then twice the size."""
    layers = block(before, 2 * after, kernel, 1, bias=True)
    layers += block(2 * after, after, kernel, 1, bias=True)
    return main(*layers, nn.Upsample(scale_factor=2, mode="bilinear"))


def motion_net(inputs: int, code: int) -> nn.ModuleDict:
    """One motion encoder."""
    layers = [nn.Conv2d(inputs, 32, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for sizes in ((32, 64, 4, 2), (64, 64, 3, 1), (64, 128, 4, 2), (128, 128, 3, 1)):
        layers += block(*sizes, bias=False)
    layers.append(nn.Conv2d(128, 64, 4, 2, 1, bias=False))
    parts = {**main(*layers), "fc1": nn.Linear(1024, code), "fc2": nn.Linear(1024, code)}
    return nn.ModuleDict(parts)


def chain(*widths: int) -> nn.Sequential:
    """Blocks of the refiner."""
    blocks = (main(*block(a, b, 3, 1, bias=True)) for a, b in pairwise(widths))
    return nn.Sequential(*blocks)


def over_time(channels: int) -> nn.ModuleDict:
    """A convolution over space and time."""
    return nn.ModuleDict(
        {"conv": nn.Conv3d(channels, channels, 3, 1, 1), "bn": nn.BatchNorm3d(channels)}
    )


def theirs(*, refined: bool = False) -> nn.ModuleDict:
    """The networks as the authors' files name them, with random weights and figures."""
    torch.manual_seed(0)
    first = nn.Conv2d(23, 32, 4, 2, 1)
    encoder = {"econv1": main(first, nn.LeakyReLU(0.2))}
    for number, width in ((2, 64), (3, 128), (4, 256)):
        encoder[f"econv{number}"] = main(*block(width // 2, width, 4, 2, bias=False))
    decoder = {"dconv1": main(*block(272, 256, 3, 1, bias=False)), "dconv2": up(256, 128)}
    decoder |= {"dconv3": up(256, 64), "dconv4": up(128, 32)}
    decoder |= {"gateconv1": over_time(64), "gateconv2": over_time(32)}
    parts = {
        "motion_net_bg": motion_net(3 * (T + 1) + 11, 128),
        "motion_net_fg": motion_net(3 * (T + 1) + 9, 896),
        "encoder": nn.ModuleDict(encoder),
        "flow_decoder": nn.ModuleDict(decoder),
        "zconv": main(nn.Conv2d(320, 16 * T, 3, 1, 1), nn.LeakyReLU(0.2)),
        "fc": nn.Linear(1024, 1024),
    }
    for head in ("flownext", "flowprev", "get_mask"):
        parts[head] = main(up(64, 16, 5), nn.Conv2d(16, 2, 5, 1, 2))
    if refined:
        down = {"c1": chain(3, 64, 64), "c2": chain(64, 128, 128), "c3": chain(128, *3 * [256])}
        down |= {"c4": chain(256, *3 * [512]), "c5": chain(512, *3 * [512])}
        down["c6"] = nn.Sequential(nn.Conv2d(512, 1024, 4), nn.BatchNorm2d(1024), nn.Tanh())
        start = (nn.ConvTranspose2d(1024, 512, 4), nn.BatchNorm2d(512), nn.LeakyReLU(0.2))
        back = {"upc1": nn.Sequential(*start), "upc2": chain(1024, 512, 512, 512)}
        back |= {"upc3": chain(1024, 512, 512, 256), "upc4": chain(512, 256, 256, 128)}
        back |= {"upc5": chain(256, 128, 64)}
        last = (*chain(128, 64), nn.ConvTranspose2d(64, 3, 3, 1, 1), nn.Sigmoid())
        back["upc6"] = nn.Sequential(*last)
        both = {"image_encoder": nn.ModuleDict(down), "image_decoder": nn.ModuleDict(back)}
        parts["refine_net"] = nn.ModuleDict(both)
    made = nn.ModuleDict(parts)
    for module in made.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
    return made.eval()


def run(box: nn.ModuleDict, features: Tensor) -> Tensor:
    """A chain that may hold further ones."""
    for layer in box["main"]:
        features = run(layer, features) if isinstance(layer, nn.ModuleDict) else layer(features)
    return features


def their_motion(net: nn.ModuleDict, picture: Tensor, z: Tensor) -> list[Tensor]:
    """Flow, flow back and masks (T, 2, H, W) of one picture with its classes: theirs, by hand."""
    seen = [picture]
    for number in range(1, 5):
        seen.append(run(net["encoder"][f"econv{number}"], seen[-1]))
    _, half, quarter, eighth, sixteenth = seen
    grid = net["fc"](z).view(1, 64, *sixteenth.shape[2:])
    codes = run(net["zconv"], torch.cat([grid, sixteenth], 1)).chunk(T, 1)
    every = torch.cat([torch.cat([sixteenth, code], 1) for code in codes])
    net_d = net["flow_decoder"]
    features = run(net_d["dconv2"], run(net_d["dconv1"], every))
    for number, skip, over in ((3, eighth, 1), (4, quarter, 2)):
        features = torch.cat([features, skip.expand(T, -1, -1, -1)], 1)
        features = run(net_d[f"dconv{number}"], features)
        time = net_d[f"gateconv{over}"]
        clip = features.transpose(0, 1).unsqueeze(0)
        features = F.leaky_relu(time["bn"](time["conv"](clip)), 0.2)[0].transpose(0, 1)
    features = torch.cat([features, half.expand(T, -1, -1, -1)], 1)
    flow, back, masks = (run(net[name], features) for name in ("flownext", "flowprev", "get_mask"))
    return [flow, back, masks.sigmoid()]


def save(net: nn.ModuleDict, path: Path) -> Path:
    """Write their file: names of several GPUs, an optimiser, a frozen VGG."""
    state = {f"module.{name}": value for name, value in net.state_dict().items()}
    state["module.vgg_net.net.0.weight"] = torch.zeros(3)
    optimizer = torch.optim.Adam(net.parameters()).state_dict()
    torch.save({"vae": state, "optimizer": optimizer}, path)
    return path


def test_converted_networks_move_a_picture_as_theirs(tmp_path: Path) -> None:
    net = theirs()
    config = convert_authors(save(net, tmp_path / "two_path.pth.tar"), tmp_path / "m.safetensors")
    assert (config.semantics, config.num_frames, config.refinement) == ("split", T, False)
    assert (config.paper.background_code, config.paper.foreground_code) == (128, 896)
    checkpoint = load_checkpoint(tmp_path / "m.safetensors")
    animator = Animator(checkpoint.config, num_channels=20).eval()
    encoder = PaperMotionEncoder(checkpoint.config).eval()
    load_box(animator, checkpoint, "animator")
    load_box(encoder, checkpoint, "motion_encoder")
    picture, frames = torch.rand(1, 3, 64, 64), torch.rand(1, T, 3, 64, 64)
    labels = torch.randint(20, (1, 64, 64))
    one_hot = F.one_hot(labels, 20).permute(0, 3, 1, 2).float()
    objects = torch.zeros(1, 8, 8, dtype=torch.long)
    video = torch.cat([picture, *(frames[:, time] - picture for time in range(T))], 1)
    codes = []
    with torch.inference_mode():
        posterior = encoder(picture, frames, labels, objects)
        for name, classes in (
            ("motion_net_bg", one_hot[:, :11]),
            ("motion_net_fg", one_hot[:, 11:]),
        ):
            branch = net[name]
            row = run(branch, torch.cat([video, classes], 1)).view(-1, 1024)
            codes.append((branch["fc1"](row), branch["fc2"](row)))
        assert torch.allclose(posterior.mean.background, codes[0][0], atol=1e-5)
        assert torch.allclose(posterior.mean.foreground[:, :, 0, 0], codes[1][0], atol=1e-5)
        assert torch.allclose(posterior.log_variance.background, codes[0][1], atol=1e-5)
        z = torch.randn(1, 1024)
        flow, back, masks = their_motion(net, torch.cat([picture, one_hot], 1), z)
        latent = Latent(z[:, :128], z[:, 128:, None, None])
        motion = animator.flow_decoder(picture, labels, latent, objects)
    # Theirs reads x - flow in half pictures: at 64 pixels one is 63 / 2 pixels.
    assert flow.abs().mean() > 1e-3
    assert torch.allclose(motion.backward_flow[0], -flow * 63 / 2, atol=1e-4)
    assert torch.allclose(motion.forward_flow[0], back * 63 / 2, atol=1e-4)
    assert torch.allclose(motion.backward_visible[0], masks[:, :1], atol=1e-5)
    assert torch.allclose(motion.forward_visible[0], masks[:, 1:], atol=1e-5)


@pytest.mark.slow
def test_converted_refiner_finishes_a_frame_as_theirs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = theirs(refined=True)
    moving = [name for name in net if not name.startswith(("motion_net", "refine_net"))]
    # With T = 4, as released, this is 4,242,934: a frame less costs 16 maps of 320 x 9 + 1.
    count = sum(p.numel() for name in moving for p in net[name].parameters())
    assert count == 4_242_934 - (4 - T) * 16 * (320 * 9 + 1)
    assert sum(p.numel() for p in net["refine_net"].parameters()) == 51_719_299
    path = save(net, tmp_path / "two_path.pth.tar")
    assert cli.main(["convert", str(path), "-o", str(tmp_path / "out")]) == 0
    assert "semantics split, 1 + 2 frames" in capsys.readouterr().out
    checkpoint = load_checkpoint(tmp_path / "out" / "model.safetensors")
    animator = Animator(checkpoint.config, num_channels=20).eval()
    load_box(animator, checkpoint, "animator")
    frame, labels = torch.rand(1, 3, 128, 128), torch.zeros(1, 128, 128, dtype=torch.long)
    with torch.inference_mode():
        down, back = (net["refine_net"][name] for name in ("image_encoder", "image_decoder"))
        skips, hidden = [], frame
        for number in range(1, 6):
            for one in down[f"c{number}"]:
                hidden = run(one, hidden)
            skips.append(hidden)
            hidden = F.max_pool2d(hidden, 2)
        hidden = back["upc1"](down["c6"](hidden))
        for number in range(2, 7):
            hidden = F.interpolate(hidden, scale_factor=2.0, mode="bilinear")
            hidden = torch.cat([hidden, skips.pop()], 1)
            for one in back[f"upc{number}"]:
                hidden = run(one, hidden) if isinstance(one, nn.ModuleDict) else one(hidden)
        refined, _ = animator.refiner(frame, torch.ones(1, 1, 128, 128), labels, frame)
    assert torch.allclose(refined, hidden, atol=1e-4)


@pytest.mark.parametrize("damage", ["other", "lacking", "text"])
def test_a_file_that_is_no_checkpoint_of_theirs_is_one_line(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "file.pth.tar"
    state = theirs().state_dict()
    del state["fc.weight"]
    content = {"other": {"a": torch.zeros(1)}, "lacking": {"vae": state}}
    if damage == "text":
        path.write_text("no weights")
    else:
        torch.save(content[damage], path)
    with pytest.raises(ModelError) as caught:
        convert_authors(path, tmp_path / "out.safetensors")
    wanted = {"other": "got a ...", "lacking": "spread_code.weight", "text": "weight file"}
    assert wanted[damage] in str(caught.value) and not (tmp_path / "out.safetensors").exists()
