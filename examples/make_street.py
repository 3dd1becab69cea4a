"""Draw ``street.png``, the label map of the README: ``python examples/make_street.py [target]``.

A straight street seen from a car, drawn back to front with Pillow. Everything that stands on the
ground is given by its distance in metres and projected by a pinhole camera, so sizes agree.
Pixel values are Cityscapes train ids; the palette only makes the file pleasant to look at. Beside
it, ``street_instances.png`` numbers cars and people in the order in which they are drawn.
"""

import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

WIDTH, HEIGHT = 512, 256
FOCAL_LENGTH = 290.0
CAMERA_HEIGHT = 1.5
HORIZON, CENTRE = 116, 250

PALETTE = {
    "road": (0, (128, 64, 128)),
    "sidewalk": (1, (244, 35, 232)),
    "building": (2, (70, 70, 70)),
    "wall": (3, (102, 102, 156)),
    "fence": (4, (190, 153, 153)),
    "pole": (5, (153, 153, 153)),
    "traffic light": (6, (250, 170, 30)),
    "traffic sign": (7, (220, 220, 0)),
    "vegetation": (8, (107, 142, 35)),
    "terrain": (9, (152, 251, 152)),
    "sky": (10, (70, 130, 180)),
    "person": (11, (220, 20, 60)),
    "rider": (12, (255, 0, 0)),
    "car": (13, (0, 0, 142)),
    "truck": (14, (0, 0, 70)),
    "bus": (15, (0, 60, 100)),
    "train": (16, (0, 80, 100)),
    "motorcycle": (17, (0, 0, 230)),
    "bicycle": (18, (119, 11, 32)),
}
"""Train id and colour of every Cityscapes class."""

Point = tuple[float, float]


class Street:
    """A label map being drawn: ground points are (metres to the right, metres up, metres ahead)."""

    def __init__(self) -> None:
        self.image = Image.new("P", (WIDTH, HEIGHT), PALETTE["sky"][0])
        self.image.putpalette([value for _, colour in PALETTE.values() for value in colour])
        self.numbers = Image.new("L", self.image.size)
        self.count = 0

    def fill(self, shape: str, points: object, name: str) -> None:
        """Fill a shape with a class, and with the number of what is drawn."""
        number = self.count if name in ("car", "person") else 0
        for image, value in ((self.image, PALETTE[name][0]), (self.numbers, number)):
            getattr(ImageDraw.Draw(image), shape)(points, fill=value)

    def project(self, right: float, up: float, ahead: float) -> Point:
        """Return the pixel of a point of the world."""
        scale = FOCAL_LENGTH / ahead
        return CENTRE + right * scale, HORIZON + (CAMERA_HEIGHT - up) * scale

    def polygon(self, name: str, points: list[tuple[float, float, float]]) -> None:
        """Fill a polygon of world points with a class."""
        self.fill("polygon", [self.project(*point) for point in points], name)

    def ground(self, name: str, left: float, right: float, near: float, far: float) -> None:
        """Fill a strip of ground."""
        corners = [(left, near), (right, near), (right, far), (left, far)]
        self.polygon(name, [(x, 0.0, ahead) for x, ahead in corners])

    def front(self, name: str, left: float, right: float, top: float, ahead: float) -> None:
        """Fill an upright rectangle that faces the camera and stands on the ground."""
        corners = [(left, 0.0), (right, 0.0), (right, top), (left, top)]
        self.polygon(name, [(x, up, ahead) for x, up in corners])

    def house(self, side: float, near: float, far: float, top: float, depth: float = 14.0) -> None:
        """Draw a house along the street: the gable that faces the camera and the side wall."""
        wall = [(side, 0.0, near), (side, 0.0, far), (side, top, far), (side, top, near)]
        self.front("building", side, side + (depth if side > 0 else -depth), top, near)
        self.polygon("building", wall)

    def tree(self, x: float, ahead: float, top: float, seed: int) -> None:
        """Draw a trunk and a crown of overlapping leaves."""
        generator = random.Random(seed)
        radius = top * 0.26
        self.front("vegetation", x - 0.14, x + 0.14, top * 0.6, ahead)
        for _ in range(22):
            up = top * 0.68 + generator.uniform(-1, 1) * radius
            centre_x, centre_y = self.project(x + generator.uniform(-1, 1) * radius, up, ahead)
            size = generator.uniform(0.35, 0.6) * radius * FOCAL_LENGTH / ahead
            box = (centre_x - size, centre_y - size, centre_x + size, centre_y + size)
            self.fill("ellipse", box, "vegetation")

    def car(self, x: float, ahead: float, side: float, length: float = 4.2) -> None:
        """Draw a car seen along the street; ``side`` (-1 or 1) is the flank that shows."""
        self.count += 1
        body = [(-0.86, 0.12), (0.86, 0.12), (0.9, 0.6), (0.86, 0.92), (0.7, 1.0), (0.56, 1.45)]
        body += [(-0.56, 1.45), (-0.7, 1.0), (-0.86, 0.92), (-0.9, 0.6)]
        flank = [(0.0, 0.12), (0.0, 0.92), (0.3, 1.42), (0.75, 1.4), (1.0, 0.9), (1.0, 0.2)]
        self.polygon("car", [(x + right, up, ahead) for right, up in body])
        edge = x + 0.86 * side
        self.polygon("car", [(edge, up, ahead + share * length) for share, up in flank])
        for wheel in (-0.68, 0.68):
            self.front("car", x + wheel - 0.12, x + wheel + 0.12, 0.3, ahead)

    def person(self, x: float, ahead: float, stride: float, tall: float = 1.75) -> None:
        """Draw a walking person: legs, trunk, arms and head."""
        self.count += 1
        hips, shoulders = tall * 0.5, tall * 0.82
        for foot in (-stride, stride):
            legs = [(foot - 0.07, 0.0), (foot + 0.13, 0.0), (0.16, hips), (-0.16, hips)]
            self.polygon("person", [(x + right, up, ahead) for right, up in legs])
            hand = [
                (foot * 0.9, hips),
                (foot * 0.9 + 0.1, hips),
                (0.1, shoulders),
                (-0.1, shoulders),
            ]
            self.polygon("person", [(x + right, up, ahead) for right, up in hand])
        trunk = [(-0.17, hips * 0.95), (0.17, hips * 0.95), (0.22, shoulders), (-0.22, shoulders)]
        self.polygon("person", [(x + right, up, ahead) for right, up in trunk])
        centre_x, centre_y = self.project(x, tall - 0.12, ahead)
        size = 0.13 * FOCAL_LENGTH / ahead
        box = (centre_x - size, centre_y - size * 1.2, centre_x + size, centre_y + size * 1.2)
        self.fill("ellipse", box, "person")

    def box(self, name: str, x: float, up: float, ahead: float, wide: float, high: float) -> None:
        """Fill a small upright rectangle whose centre hangs at a height."""
        left, right, low, top = x - wide / 2, x + wide / 2, up - high / 2, up + high / 2
        corners = [(left, low), (right, low), (right, top), (left, top)]
        self.polygon(name, [(right_of, height, ahead) for right_of, height in corners])

    def pole(self, x: float, ahead: float, top: float) -> None:
        """Draw a thin pole, never thinner than two pixels."""
        half = max(0.07, 1.0 * ahead / FOCAL_LENGTH)
        self.front("pole", x - half, x + half, top, ahead)


def draw_ground_and_houses(street: Street) -> None:
    """Lay the road and the pavements, then set the houses along them, far ones first."""
    street.ground("road", -4.2, 4.2, 2.0, 400.0)
    street.ground("sidewalk", -12.0, -4.2, 2.0, 400.0)  # reaches under the houses: no gaps
    street.ground("sidewalk", 4.2, 12.0, 2.0, 400.0)
    left = [(70, 120, 16), (46, 68, 11), (30, 44, 14), (17, 29, 10), (6, 15.5, 8)]
    right = [(80, 130, 13), (52, 78, 18), (34, 50, 12), (5, 22, 9)]
    for side, row in ((-8.5, left), (8.0, right)):
        for near, far, top in row:
            street.house(side, float(near), float(far), float(top))


def draw_things(street: Street) -> None:
    """Add trees, signs, cars and people, far ones first so that near ones cover them."""
    for number, ahead in enumerate((95.0, 75.0, 58.0)):
        street.tree(-6.6, ahead, 8.0, number)
        street.tree(6.4, ahead, 7.5, number + 10)
    street.tree(10.5, 27.0, 9.5, 20)
    street.tree(8.8, 24.0, 8.0, 21)
    street.car(1.9, 60.0, -1.0)
    street.car(-1.9, 44.0, 1.0)
    street.pole(4.7, 34.0, 6.5)
    street.tree(-6.6, 34.0, 7.5, 22)
    street.person(5.6, 20.0, 0.2)
    street.car(1.8, 25.0, -1.0)
    street.car(-3.2, 21.0, 1.0)
    street.pole(4.7, 17.0, 3.6)
    street.box("traffic light", 4.7, 3.4, 17.0, 0.38, 1.05)
    street.car(-3.3, 13.5, 1.0)
    street.tree(-6.9, 16.0, 6.4, 23)
    street.pole(-4.8, 11.0, 3.2)
    street.box("traffic sign", -4.8, 3.0, 11.0, 0.7, 0.7)
    street.person(-6.3, 12.0, 0.2, tall=1.7)
    street.car(3.2, 10.5, -1.0)
    street.person(5.9, 9.5, 0.26, tall=1.8)


def main(arguments: list[str]) -> int:
    """Draw the street and save it beside this script, or where the first argument says."""
    target = Path(arguments[0]) if arguments else Path(__file__).with_name("street.png")
    street = Street()
    draw_ground_and_houses(street)
    draw_things(street)
    street.image.save(target, optimize=True)
    street.numbers.save(target.with_name(f"{target.stem}_instances.png"), optimize=True)
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
