"""Holes: they are filled with what is around, and what is painted in them fits that."""

import numpy as np
import pytest
import torch

from seg2vid.models.holes import (
    fill_specks,
    grow_into_objects,
    match_colours,
    soften_outlines,
    spread_colours,
)


def test_a_hole_grows_into_objects_beside_it_with_its_label() -> None:
    bare, is_object = torch.zeros(2, 8, 12, dtype=torch.bool)
    bare[2:4, 2:4], is_object[:, 4:11] = True, True
    labels = torch.full((8, 12), 7)
    labels[bare], labels[is_object] = 1, 13
    told, hidden = grow_into_objects(is_object, labels, bare, 3)
    assert hidden.sum() == 4 + 3 * 7, "all within three pixels"
    assert (told[hidden] == 1).all() and torch.equal(told[~hidden], labels[~hidden])
    assert not hidden[:, 7:].any() and not hidden[:, :2].any()


def test_what_is_hidden_has_the_colours_of_its_class() -> None:
    """Two classes of one colour each, a third that nothing shows, and one of two colours."""
    labels = torch.zeros(2, 32, 64, dtype=torch.long)
    labels[:, :, 32:], labels[:, :8, :8], labels[:, 16:] = 1, 2, 3
    pictures = torch.zeros(2, 3, 32, 64)
    pictures[:, 0] = torch.where(labels == 0, 0.8, 0.0)
    pictures[:, 1] = torch.where(labels == 1, 0.6, 0.0)
    pictures[:, 2] = torch.where(labels == 3, torch.linspace(0, 1, 64), 0.0)
    visible = torch.ones(2, 1, 32, 64)
    visible[..., 4:12, 20:44], visible[:, :, :8, :8] = 0, 0
    visible[:, :, 20:28, 16:48] = 0
    hidden = visible[:, 0] == 0
    visible[1, :, :, :16] = 0
    told = torch.where(visible > 0, pictures, 0.5)
    filled = spread_colours(told, labels, visible)
    assert torch.equal(filled[0][:, ~hidden[0]], pictures[0][:, ~hidden[0]])
    for class_id in (0, 1):
        wanted = hidden & (labels == class_id)
        assert wanted.any()
        # Even where much is hidden: never the other class's colour, nor black.
        error = (filled - pictures).abs().amax(1)[wanted]
        assert error.max() < 1e-4
    assert (filled[:, :, :8, :8] == 0.5).all(), "nothing to go by"
    ramp = filled[0, 2, 24, 12:52]
    assert (ramp - torch.linspace(0, 1, 64)[12:52]).abs().max() < 0.25
    assert ramp.diff().abs().max() < 0.1, "no steps"
    for sample in range(2):
        one = (told[sample : sample + 1], labels[sample : sample + 1], visible[sample : sample + 1])
        torch.testing.assert_close(spread_colours(*one)[0], filled[sample])


def test_ground_in_the_shade_does_not_shine_as_its_class_does_across_the_street() -> None:
    """Pavement on the left in the sun; on the right, where it is hidden, road in the shade."""
    road, pavement, wall = 0, 1, 2
    labels = torch.full((1, 32, 64), road)
    labels[:, :, :8] = labels[:, :, 56:] = pavement
    labels[:, :8] = wall
    pictures = torch.where(labels == pavement, 1.0, 0.2).unsqueeze(1).expand(-1, 3, -1, -1)
    visible = (labels != pavement).float().unsqueeze(1)
    visible[..., :8] = 1
    hole = visible == 0
    apart, alike = (
        spread_colours(pictures, labels, visible, classes)[:, :1][hole]
        for classes in ((), (road, pavement))
    )
    assert (apart == 1).all() and (alike < 0.6).all() and (alike > 0.2).all()
    shown = pictures.where(visible > 0, 0)
    assert torch.equal(spread_colours(shown, labels, visible, (road,))[:, :1][hole], apart)


def test_the_sky_goes_on_as_light_as_it_is_in_its_row() -> None:
    """A strip beyond the border, which a turn shows, of a sky that is darker above."""
    labels = torch.zeros(1, 32, 64, dtype=torch.long)
    labels[:, 16:] = 1
    picture = torch.linspace(0.2, 0.9, 32).view(1, 1, 32, 1).expand(1, 3, 32, 64)
    visible = torch.ones(1, 1, 32, 64)
    visible[..., 40:] = 0
    told = picture.where(visible > 0, 0)
    sky, ground = (slice(None, 16), slice(40, None)), (slice(16, None), slice(40, None))
    plain, lit = (spread_colours(told, labels, visible, (), skies)[0, 0] for skies in ((), (0,)))
    torch.testing.assert_close(lit[sky], picture[0, 0][sky], atol=1e-5, rtol=0)
    assert (plain[sky] - picture[0, 0][sky]).abs().max() > 0.1
    assert torch.equal(lit[ground], plain[ground])


def test_what_is_painted_takes_the_colour_around_and_keeps_its_grain_and_shade() -> None:
    """Orange ground, which a painter paints blue with a grain, and darker than it is."""
    hidden = torch.zeros(1, 1, 32, 64)
    hidden[:, :, 8:24, 16:40] = 1
    ground = torch.tensor([0.7, 0.4, 0.1]).view(1, 3, 1, 1).expand(1, 3, 32, 64)
    grain = 0.05 * torch.where(torch.arange(64) % 2 > 0, 1.0, -1.0)
    blue = torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1) + grain
    painted = torch.where(hidden > 0, blue, ground)
    matched = match_colours(painted, ground, hidden)
    inside = matched[:, :, 8:24, 16:40]
    assert inside.mean((2, 3)) == pytest.approx(torch.tensor([[0.6, 0.3, 0.03]]), abs=0.01)
    assert inside[0, 0].std() == pytest.approx(0.05, abs=0.005)
    # Much darker it was by mistake: no shade is. Of blue there is no more than 0.1 to lack.
    dark = match_colours(torch.where(hidden > 0, 0.0, ground), ground, hidden)
    assert (ground - dark)[:, :, 8:24, 16:40].mean() == pytest.approx(0.4 / 3)
    assert torch.equal(match_colours(ground, ground, hidden), ground)
    assert torch.equal(matched[:, :, :, 56:], ground[:, :, :, 56:]), "far from the hole"


@pytest.mark.parametrize("factor", [1, 2])
def test_outlines_are_softened_where_the_key_frame_is_torn(factor: int) -> None:
    """Left half and right half come from places that were far apart; a speck is a hole."""
    height, width = 12, 20
    own = torch.arange(height * width).view(1, height, width)
    frames = torch.zeros(1, 3, height, width)
    frames[..., 10:] = 1
    assert torch.equal(soften_outlines(frames, own, factor), frames), "edges that were there"
    torn = own.clone()
    torn[..., 10:] -= 4 * factor
    soft = soften_outlines(frames, torn, factor)
    changed = (soft != frames)[0, 0].any(0).nonzero().squeeze(1)
    assert changed.tolist() == [9, 10]
    assert soft[0, 0, 5, 8:12].tolist() == pytest.approx([0, 0.1875, 0.8125, 1])
    slow = slow_mean(frames[0].numpy())
    assert np.abs(soft[0, :, :, 9].numpy() - 0.75 * slow[:, :, 9]).max() < 1e-6
    hole = own.clone()
    hole[:, 6, 4] = -1
    noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    changed = (soften_outlines(noise, hole, factor) - noise).abs() > 1e-6
    assert changed[0].any(0).nonzero().tolist() == [[5, 4], [6, 3], [6, 4], [6, 5], [7, 4]]


def slow_mean(frame: np.ndarray) -> np.ndarray:
    """What is around each pixel, 1 2 1 either way, pixel after pixel."""
    mean = np.zeros_like(frame)
    _, height, width = frame.shape
    for row, column in np.ndindex(height, width):
        for down, right in np.ndindex(3, 3):
            y = min(max(row + down - 1, 0), height - 1)
            x = min(max(column + right - 1, 0), width - 1)
            weight = (2 - abs(down - 1)) * (2 - abs(right - 1)) / 16
            mean[:, row, column] += weight * frame[:, y, x]
    return mean


def test_a_few_bare_pixels_are_filled_from_around() -> None:
    frame, labels = torch.full((3, 6, 6), 0.25), torch.full((6, 6), 5)
    bare = torch.zeros(6, 6, dtype=torch.bool)
    bare[2:5, 2:4] = True
    frame[:, bare], labels[bare] = 9.0, 0
    filled, named = fill_specks(frame, labels, bare)
    assert torch.allclose(filled, torch.full_like(filled, 0.25), atol=1e-5)
    assert (named == 5).all()
    everything = torch.ones(6, 6, dtype=torch.bool)
    assert torch.equal(fill_specks(frame, labels, everything)[0], frame), "nothing to fill from"
