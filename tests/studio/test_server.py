"""The routes: a video from request to file, what is refused, and in which words."""

import base64
import io
import re
import tempfile
import threading
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from seg2vid.cli import main as cli
from seg2vid.media.video import read_video
from seg2vid.studio.doors import COOKIE, SECURITY, Doors
from seg2vid.studio.jobs import Job, Limits
from seg2vid.studio.layers import LAYERS
from seg2vid.studio.uploads import find_streets
from seg2vid.tools.errors import MediaError
from tests.studio.studios import ask, client_of, ended, instances_png, labels_png, png
from tests.tiny import HEIGHT, WIDTH, street_map


@pytest.fixture(scope="module")
def client(pipe):
    with client_of(pipe) as made:
        yield made


@pytest.fixture(scope="module")
def video(client):
    """A video of two passes, with objects, that is done."""
    answer = ask(client, {"frames": 7, "seed": 3}, labels=labels_png(), instances=instances_png())
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert answer.headers["location"] == f"/api/videos/{told['id']}"
    assert told["total"] == 7 and "road" in told["notes"][0]
    last = ended(client, told)
    assert (last["state"], last["ready"], last["place"], last["error"]) == ("done", 7, 0, "")
    return last


# The way of a video.


def test_layers_show_the_video_that_the_pipeline_makes(client, video, pipe) -> None:
    numbers = np.asarray(Image.open(io.BytesIO(instances_png())), np.int64)[None]
    expected = pipe(street_map(), num_frames=7, seed=3, instance_map=numbers)
    for layer in LAYERS:
        answer = client.get(f"/api/videos/{video['id']}/layers/{layer}")
        assert answer.status_code == 200, answer.text
        image = Image.open(io.BytesIO(answer.content))
        assert image.size == (WIDTH, 7 * HEIGHT)
    shown = client.get(f"/api/videos/{video['id']}/layers/frames?begin=5&end=6").content
    pixels = np.asarray(Image.open(io.BytesIO(shown)), np.float32) / 255
    frame = expected.frames[0, 4].permute(1, 2, 0).numpy()
    assert np.abs(pixels - frame).mean() < 0.02, "JPEG of the same frame"
    labels = client.get(f"/api/videos/{video['id']}/layers/labels?begin=6&end=7").content
    colours = np.asarray(Image.open(io.BytesIO(labels)).convert("RGB"))
    assert (colours == pipe.label_space.colours[expected.label_maps[0, 5].numpy()]).all()


@pytest.mark.parametrize("ending", ["mp4", "gif", "webp"])
def test_a_video_is_saved_as_a_file(client, video, ending: str, tmp_path: Path) -> None:
    answer = client.get(f"/api/videos/{video['id']}/scene.{ending}")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == f'attachment; filename="scene.{ending}"'
    (tmp_path / f"scene.{ending}").write_bytes(answer.content)
    assert read_video(tmp_path / f"scene.{ending}").shape == (7, HEIGHT, WIDTH, 3)


def test_the_zip_holds_all_that_is_known_and_nothing_is_left_behind(client, video) -> None:
    answer = client.get(f"/api/videos/{video['id']}/scene.zip")
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    for name in ("labels.png", "instances.png", "command.txt", "scene.py", "scene/video.json"):
        assert name in names
    for extra in ("labels", "instances", "depth", "source", "flow", "kitti_flow", "visible"):
        assert any(name.startswith(f"scene/{extra}/") for name in names), extra
    assert "scene/poses.txt" in names and "scene/boxes.json" in names
    assert list(client.studio.folder.iterdir()) == []


WISHES = [
    {"frames": 5, "seed": 8, "camera": "forward=8,turn=-3", "move": {"car": "x0.5"}},
    {
        "frames": 4,
        "seed": 1,
        "paths": {
            "car#1": [{"time": 0}, {"time": 0.3, "right": 1.5}],
            "camera": [{"time": 0}, {"time": 1, "forward": 3, "turn": 5}],
        },
        "freeze": ["sky"],
        "strength": 0.5,
        "loop": True,
        "speed": 2,
    },
    {"frames": 2, "resample": ["building", "road"], "resample_seed": 7, "frames_per_second": 24},
]


def extracted(client, told, folder: Path) -> Path:
    content = client.get(f"/api/videos/{told['id']}/scene.zip").content
    zipfile.ZipFile(io.BytesIO(content)).extractall(folder)
    return folder


CASES = [
    pytest.param("words", "map", marks=pytest.mark.slow),
    ("paths", "map"),
    pytest.param("looks", "map", marks=pytest.mark.slow),
    pytest.param("words", "photo", marks=pytest.mark.slow),
    pytest.param("paths", "photo", marks=pytest.mark.slow),
    ("looks", "photo"),
]


@pytest.mark.parametrize(("kind", "beginning"), CASES)
def test_the_command_line_makes_the_same_pixels(
    client, kind: str, beginning: str, tmp_path: Path, monkeypatch
) -> None:
    wishes = WISHES[("words", "paths", "looks").index(kind)]
    files = {"labels": labels_png(), "instances": instances_png()}
    if beginning == "photo":
        noise = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
        files["first_frame"] = png(Image.fromarray(noise), "JPEG")
    told = ask(client, wishes, **files).json()
    assert ended(client, told)["state"] == "done"
    monkeypatch.chdir(extracted(client, told, tmp_path))
    recipe = client.get(f"/api/videos/{told['id']}/recipe").json()
    assert (tmp_path / "command.txt").read_text() == f"{recipe['command']}\n"
    words = recipe["command"].replace("scene.mp4", "again").split()
    assert words[:2] == ["seg2vid", "generate"] and set(recipe["files"]) <= {
        path.name for path in tmp_path.iterdir()
    }
    assert cli.main([word.strip("'") for word in words[1:]]) == 0
    assert (read_video(Path("again")) == read_video(Path("scene"))).all()


def test_the_lines_of_python_make_the_same_file(client, tmp_path: Path, monkeypatch) -> None:
    files = {"labels": labels_png(), "instances": instances_png()}
    told = ask(client, WISHES[1], **files).json()
    assert ended(client, told)["state"] == "done"
    monkeypatch.chdir(extracted(client, told, tmp_path))
    exec(compile(Path("scene.py").read_text(), "scene.py", "exec"), {})
    assert (
        Path("scene.mp4").read_bytes() == client.get(f"/api/videos/{told['id']}/scene.mp4").content
    )


def test_the_ground_takes_pixels_to_metres(client, video) -> None:
    told = client.get(f"/api/videos/{video['id']}/ground").json()
    assert set(told) == {"focal_length", "column", "horizon", "height"}
    assert told["column"] == (WIDTH - 1) / 2 and 0 < told["horizon"] < HEIGHT
    assert told["height"] > 0 and told["focal_length"] > 0


def test_a_video_is_forgotten_when_nobody_wants_it(client) -> None:
    told = ask(client, {"frames": 2}, labels=labels_png()).json()
    ended(client, told)
    path = f"/api/videos/{told['id']}"
    assert client.delete(path).status_code == 204
    assert client.delete(path).status_code == 204, "again does no harm"
    answer = client.get(path)
    assert answer.status_code == 404
    expected = "Expected a video that is still known; got one that is not; ask for it again."
    assert answer.json() == {"error": expected}


def test_layers_that_are_not_there_are_told(client, video) -> None:
    path = f"/api/videos/{video['id']}/layers"
    for query, words in (
        ("colours", "Expected a layer: frames, labels"),
        ("frames?begin=3&end=9", "Expected frames from 0 to 7; got 3 to 9"),
        ("frames?begin=x", "Expected begin, a whole number from 0 to 121; got x"),
        ("frames?begin=-1", "Expected begin, a whole number"),
    ):
        answer = client.get(f"{path}/{query}")
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(words)
    assert client.get(f"/api/videos/{video['id']}/scene.exe").status_code == 404


# Canvases.


def test_a_label_map_becomes_a_canvas(client) -> None:
    large = np.kron(street_map()[0].numpy(), np.ones((3, 3), int))
    answer = client.post("/api/canvas", files={"picture": labels_png(large)})
    told = answer.json()
    assert answer.status_code == 200, told
    labels = np.frombuffer(base64.b64decode(told["labels"]), np.uint8)
    assert (labels.reshape(HEIGHT, WIDTH) == street_map()[0].numpy()).all()
    assert told["photo"] is None and "train ids" in " ".join(told["notes"])


def test_objects_of_an_instance_map_are_numbered_anew(client) -> None:
    ids = np.full((64, 128), 7)  # raw ids of Cityscapes
    ids[:30], ids[40:50, 10:20], ids[40:50, 60:70] = 23, 26001, 26007
    content = png(Image.fromarray(ids.astype(np.uint16)))
    told = client.post("/api/canvas", files={"picture": content}).json()
    numbers = np.frombuffer(base64.b64decode(told["instances"]), "<u2").reshape(HEIGHT, WIDTH)
    assert np.unique(numbers).tolist() == [0, 1, 2]
    assert numbers[45, 15] == 1 and numbers[45, 65] == 2


def test_a_photo_is_segmented_and_comes_along(client) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (96, 192, 3), dtype=np.uint8)
    answer = client.post("/api/canvas", files={"picture": png(Image.fromarray(photo), "JPEG")})
    told = answer.json()
    assert answer.status_code == 200, told
    assert told["notes"][0].startswith("a photo: its classes were found")
    content = base64.b64decode(told["photo"].removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(content)).size == (WIDTH, HEIGHT)


def test_streets_to_begin_with(client) -> None:
    for name in ("street", "toycity?seed=3"):
        told = client.get(f"/api/templates/{name}").json()
        labels = np.frombuffer(base64.b64decode(told["labels"]), np.uint8)
        assert labels.size == HEIGHT * WIDTH and len(np.unique(labels)) > 4
        assert np.frombuffer(base64.b64decode(told["instances"]), "<u2").max() > 1
    again = client.get("/api/templates/toycity?seed=3").json()
    assert again == told and again != client.get("/api/templates/toycity?seed=4").json()
    assert client.get("/api/templates/toycity").status_code == 400
    assert client.get("/api/templates/..%2f..%2fetc").status_code == 404


def test_label_maps_of_a_folder_are_streets_too(pipe, tmp_path: Path) -> None:
    for name in ("mine.png", "bonn_gtFine_labelIds.png", "street.png"):
        (tmp_path / name).write_bytes(labels_png())
    (tmp_path / "mine_instances.png").write_bytes(instances_png())
    (tmp_path / "small.png").write_bytes(labels_png())
    (tmp_path / "small_instances.png").write_bytes(png(Image.new("L", (8, 8))))
    with client_of(pipe, streets=tmp_path) as client:
        names = client.get("/api/about").json()["templates"]
        assert names == ["street", "bonn", "mine", "small", "street (file)"]
        answers = {name: client.get(f"/api/templates/{name}") for name in names}
        refused = answers.pop("small").json()["error"]
        assert refused.startswith("Expected an instance map of the size of"), refused
        assert {answer.status_code for answer in answers.values()} == {200}
        told = client.get("/api/templates/mine").json()
        assert sorted(set(np.frombuffer(base64.b64decode(told["instances"]), "<u2"))) == [0, 1, 2]


def test_a_folder_without_label_maps_is_told(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"a folder of label maps .*; got .* with none"):
        find_streets(tmp_path)
    for number in range(101):
        (tmp_path / f"{number}.png").touch()
    with pytest.raises(MediaError, match=r"at most 100 label maps for --streets; got 101 in"):
        find_streets(tmp_path)


# What is refused.


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims a size."""
    whole = png(Image.new("L", (1, 1)))
    header = bytearray(whole)
    header[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    return bytes(header)


def text_bomb() -> bytes:
    """A PNG whose comment is of many megabytes when it is unpacked."""
    about = PngImagePlugin.PngInfo()
    about.add_text("Comment", "a" * (64 << 20), zip=True)
    return png(Image.new("L", (64, 64)), pnginfo=about)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HOSTILE = {
    "bomb": (bomb(30_000, 30_000), "at most 16,777,216 pixels in the label map; got more; scale"),
    "real 30,000 x 30,000": (png(Image.new("1", (30_000, 30_000))), "got more; scale it down"),
    "not quite a bomb": (png(Image.new("1", (5000, 4000))), "got more; scale it down"),
    "text bomb": (text_bomb(), "Expected a picture as the label map"),
    "one pixel": (png(Image.new("L", (1, 1))), "at least 8x8 pixels; got 1x1"),
    "truncated": (labels_png()[:-40], "the label map, which is damaged or cut off"),
    "header alone": (labels_png()[:20], "Expected a picture as the label map; got a file that"),
    "empty": (b"", "got an empty file (0 bytes); export it again as PNG"),
    "svg": (SVG, "Expected a picture as the label map; got a file that is none"),
    "html": (b"<script>alert(1)</script>", "got a file that is none"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "got a file that is none"),
    "zip": (b"PK\x03\x04" + b"\0" * 60, "got a file that is none"),
    "video": (b"\0\0\0\x18ftypmp42" + b"\0" * 60, "got a file that is none"),
    "floats": (png(Image.new("F", (64, 64)), "TIFF"), "with pixels of mode F"),
    "photo": (
        png(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))),
        "as in a photo",
    ),
    "unknown ids": (png(Image.new("L", (64, 64), 200)), "200"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.filterwarnings("ignore")
def test_hostile_pictures_are_refused_in_words(client, kind: str) -> None:
    content, words = HOSTILE[kind]
    before = sorted(Path(tempfile.gettempdir()).iterdir())
    answer = ask(client, {}, labels=content)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert words in error and "\n" not in error and "Traceback" not in error
    assert str(client.studio.folder) not in error, "no path of this machine"
    assert list(client.studio.folder.iterdir()) == []
    assert sorted(Path(tempfile.gettempdir()).iterdir()) == before


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a\0b.png", "<script>alert(1)</script>", "/" * 300, "labels.csv"]
)
def test_names_of_files_mean_nothing(client, name: str) -> None:
    answer = client.post("/api/videos", files={"labels": (name, labels_png(), "text/html")})
    assert answer.status_code == 202 and name not in answer.text
    ended(client, answer.json())
    answer = client.post("/api/videos", files={"labels": (name, b"no", "image/png")})
    assert answer.status_code == 400 and name not in answer.text


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ("{", "Expected wishes; got no JSON"),
        ("[]", "Expected a mapping in wishes; got a list"),
        ('{"frames": 0}', "Expected frames in wishes from 1 to 121; got 0"),
        ('{"frames": 5000}', "Expected frames in wishes from 1 to 121; got 5000"),
        ('{"frames": "9"}', "Expected a whole number as frames in wishes; got text"),
        ('{"seed": -1}', "Expected seed in wishes from 0"),
        ('{"colour": 1}', "got colour"),
        ('{"camera": "/etc/passwd.csv"}', "in words; got the name of a file"),
        ('{"camera": " x.yaml "}', "in words; got the name of a file"),
        ('{"move": {"car": "../secret.yml"}}', "in words; got the name of a file"),
        ('{"move": {"car": "fast"}}', "Expected still, x0.5"),
        ('{"move": {"car=still\\n": "still"}}', "letters"),
        ('{"move": {"dragon": "still"}}', "got dragon; name one of them"),
        ('{"move": {"car": "still"}, "paths": {"car": [{"time": 0}, {"time": 1}]}}', "one wish"),
        ('{"camera": "still", "paths": {"camera": [{"time": 0}, {"time": 1}]}}', "one wish for"),
        ('{"paths": {"car": [{"time": 0}]}}', "2 to 200 poses for car"),
        ('{"paths": {"car": [{"time": 1}, {"time": 1}]}}', "each later; got [1.0, 1.0]"),
        ('{"paths": {"car#9": [{"time": 0}, {"time": 1}]}}', "got 9"),
        ('{"paths": {"car": [{"time": 0}, {"time": 1e999}]}}', "finite"),
        ('{"freeze": ["train"]}', "got train; freeze one of them"),
        ('{"resample": ["dragon"]}', "got dragon; name one of them"),
        ('{"speed": 1e9}', "Expected speed in wishes from 0.01 to 100"),
        ('{"strength": 2}', "Expected strength in wishes from 0 to 1"),
        ('{"camera": "' + "x" * 999 + '"}', "at most 200 letters; got 999 letters"),
    ],
)
def test_wishes_that_cannot_be_are_refused(client, wishes: str, words: str) -> None:
    files = {"labels": labels_png(), "instances": instances_png()}
    answer = client.post("/api/videos", files=files, data={"wishes": wishes})
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["error"]


def test_forms_that_cannot_be_are_refused(client) -> None:
    for files, words in (
        ({"instances": labels_png()}, "a label map in the field labels; got none"),
        ({"labels": labels_png(), "virus": b"x"}, "in the fields first_frame, instances, labels"),
        ([("labels", labels_png()), ("labels", labels_png())], "once each"),
        ({"labels": labels_png(), "instances": png(Image.new("L", (9, 9)))}, "128x64, like the"),
        ({"labels": labels_png(), "first_frame": png(Image.new("RGB", (64, 64)))}, "proportions"),
        (
            {
                "labels": labels_png(),
                "first_frame": png(Image.new("RGB", (128, 64))),
                "look": png(Image.new("RGB", (128, 64))),
            },
            "a first frame or a photo to look like; got both",
        ),
    ):
        answer = client.post("/api/videos", files=files)
        assert answer.status_code == 400 and words in answer.json()["error"], answer.text
    assert client.post("/api/videos", json={}).status_code == 415
    form = {"content-type": "multipart/form-data; boundary=x"}
    for content in (b"", b"--x\r\n", b"--y\r\n\r\n", b"\0" * 99):
        answer = client.post("/api/videos", content=content, headers=form)
        assert answer.status_code == 400 and "Expected" in answer.json()["error"]
    answer = client.post(
        "/api/videos", content=b"x", headers={"content-type": "multipart/form-data"}
    )
    assert answer.status_code == 400
    wrong = client.post("/api/videos", files={"labels": labels_png(), "wishes": b"\xff\xfe"})
    assert wrong.status_code == 400 and "UTF-8" in wrong.json()["error"]


def test_uploads_are_limited_in_bytes_whatever_they_claim(pipe) -> None:
    with client_of(pipe, Limits(upload_bytes=1 << 20)) as client:
        large = {"labels": b"\0" * (2 << 20)}
        answer = client.post("/api/videos", files=large)
        assert answer.status_code == 413
        assert answer.json()["error"] == (
            "Expected at most 1 MiB; got more; scale the pictures down."
        )

        def endless():
            yield b"--x\r\nContent-Disposition: form-data; name=labels; filename=a\r\n\r\n"
            for _ in range(64):
                yield b"\0" * (1 << 15)

        form = {"content-type": "multipart/form-data; boundary=x"}
        answer = client.post("/api/videos", content=endless(), headers=form)
        assert answer.status_code == 413


def test_a_full_queue_is_told_and_cancelled_videos_make_room(pipe) -> None:
    with client_of(pipe, Limits(waiting=2)) as client:
        shop = client.studio.workshop
        hold = threading.Event()

        def busy():
            yield hold.wait(20)

        shop.add(Job(busy()))
        while shop.waiting:
            time.sleep(0.005)
        told = [ask(client, {"frames": 2}, labels=labels_png()).json() for _ in range(2)]
        assert [one["place"] for one in told] == [1, 2]
        answer = ask(client, {"frames": 2}, labels=labels_png())
        assert answer.status_code == 503 and answer.headers["retry-after"] == "5"
        assert "fewer than 2 jobs in the queue; got 2 that wait" in answer.json()["error"]
        assert client.get("/api/templates/street").status_code == 503
        assert client.get(f"/api/videos/{told[0]['id']}/layers/frames").status_code == 409
        client.delete(f"/api/videos/{told[0]['id']}")
        assert client.get(f"/api/videos/{told[1]['id']}").json()["place"] == 1
        hold.set()
        assert ended(client, told[1])["state"] == "done"
        assert client.get(f"/api/videos/{told[0]['id']}").json()["state"] == "cancelled"
        assert client.get(f"/api/videos/{told[0]['id']}/scene.mp4").status_code == 409


# Doors.


def test_every_answer_has_the_headers(client) -> None:
    for path in ("/", "/api", "/api/about", "/page/main.js", "/page/nothing.js", "/api/videos/x"):
        headers = client.get(path).headers
        for name in SECURITY.keys() - {"Cache-Control"}:
            assert headers[name] == SECURITY[name], path
        assert "server" not in headers
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1:8765", True),
        ("localhost:1234", True),
        ("[::1]:8765", True),
        ("localhost.", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("192.168.1.4", False),
        ("", False),
        ("[", False),
    ],
)
def test_other_host_names_are_refused(client, host: str, is_own: bool) -> None:
    answer = client.get("/api/about", headers={"host": host})
    assert answer.status_code == (200 if is_own else 421)


def test_other_pages_cannot_ask(client) -> None:
    own = {"origin": "http://127.0.0.1:8765", "sec-fetch-site": "same-origin"}
    assert client.get("/api/about", headers=own).status_code == 200
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ):
        assert client.get("/api/about", headers=headers).status_code == 403, headers
    visit = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=visit).status_code == 200, "a link may lead here"


def test_from_afar_a_token_is_needed(pipe) -> None:
    with client_of(pipe, doors=Doors("0.0.0.0", "secret")) as client:
        for path in ("/", "/api/about", "/page/main.js", "/?token=other", "/?token="):
            answer = client.get(path, follow_redirects=False)
            assert answer.status_code == 401, path
            assert "the address that the terminal shows" in answer.json()["error"]
        for headers in (
            {"authorization": "Bearer other"},
            {"cookie": f"{COOKIE}=other"},
            {"cookie": "no cookie; ;;="},
            {"authorization": "Bearer "},
        ):
            assert client.get("/api/about", headers=headers).status_code == 401
        given = {"authorization": "Bearer secret"}
        assert client.get("/api/about", headers=given).status_code == 200
        assert client.get("/api/about?token=secret").status_code == 401, "only to enter"
        answer = client.get("/?token=secret", follow_redirects=False)
        assert answer.status_code == 303 and answer.headers["location"] == "/"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie
        assert client.get("/").status_code == 200, "the cookie is kept"
        assert client.get("/api/about", headers={"host": "192.168.1.4:80"}).status_code == 200
        assert client.get("/api/about", headers={"host": "evil.example"}).status_code == 421


# Pages and routes.


def test_parts_of_the_page_are_of_a_fixed_table(client) -> None:
    for path in ("/page/..%2fserver.py", "/page/%2e%2e/server.py", "/page/server.py", "/page/"):
        assert client.get(path).status_code == 404
    assert client.get("/page/main.js").headers["content-type"].startswith("text/javascript")
    assert "script" in client.get("/").text


def test_the_page_asks_for_nothing_outside(client) -> None:
    for name, content in client.studio.pages.items():
        found = re.findall(r"(?:https?:)?//[\w.]+\.\w+[^\s\"'<>]*", content.decode())
        allowed = {"http://www.w3.org/2000/svg"}
        assert set(found) <= allowed, name


def test_every_route_is_described(client) -> None:
    told = client.get("/api/openapi.json").json()
    described = {
        (method.upper(), path) for path, methods in told["paths"].items() for method in methods
    }
    inner = client.studio.app().app
    there = {
        (method, route.path)
        for route in inner.routes
        for method in route.methods - {"HEAD"}
        if route.path.startswith("/api/")
    }
    assert described == there
    page = client.get("/api").text
    assert all(path.replace("&", "&amp;") in page for _, path in described)
    assert "resample_seed" in page
    answer = client.get("/api/nothing")
    assert answer.status_code == 404 and "/api" in answer.json()["error"]
    assert client.post("/api/about").status_code == 405


def test_what_is_described_of_wishes_is_what_is_read(client) -> None:
    told = client.get("/api/openapi.json").json()
    frames = told["components"]["schemas"]["Wishes"]["properties"]["frames"]
    assert (frames["minimum"], frames["maximum"], frames["default"]) == (1, 121, 25)
    about = client.get("/api/about").json()
    assert about["width"] == WIDTH and about["classes"][-1]["value"] == 255
    assert list(about["layers"]) == list(LAYERS)
