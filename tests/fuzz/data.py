"""Targets: lists, archives, pictures, and the files that say what pictures are of."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from soup.config.data import Source
from soup.data.reading import archives, image_file
from soup.data.shifts import class_map, objectnet, protocol, real
from soup.data.shifts.imagenet import wnids
from soup.data.sources.labels import labelled
from soup.data.sources.listing import listed
from soup.data.split.holdout import _read_index
from soup.data.split.manifest import Manifest
from soup.evaluation import prediction_file
from tests.fuzz.mutations import damaged, texts
from tests.fuzz.target import Target
from tests.worlds import picture

MANY = 40  # lines of a refusal that lists what is wrong
CSV = b'path,label,split\nred/1.png,red,train\n"red/2.png","red",train\nblue/1.png,blue,test\n'
LINES = b"red/1.png red\nred/2.png red\nblue/1.png blue\n"
MANIFEST = (
    b"path,class,split,content\n"
    b"train/red/1.png,red,train,12-bytes\ntrain/blue/1.png,blue,heldout,13-bytes\n"
)
PROTOCOLS = {"a": {"answers": {"dog": ["n1", "n2"]}, "border": 2, "of": ""}}
MAP: dict[str, Any] = {"cats": "cat", "dogs": ["dog", "puppy"], "others": None}
REAL = [[1, 2], [], [999], [7]]
NAMES = [f"ILSVRC2012_val_{n:08d}.JPEG" for n in range(1, 5)]
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "TGA", "JPEG2000")


def tar(labels: bool) -> bytes:
    """A tar of three pictures in class folders, or with labels beside them."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in ("red/1.png", "red/2.png", "blue/" + "long" * 30 + ".png"):
            members = {name: encoded("PNG")}
            if labels:
                members[name.replace(".png", ".cls")] = b"3"
            for inside, data in members.items():
                member = tarfile.TarInfo(inside)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def encoded(kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    picture((200, 50, 40), 1, (9, 7)).save(content, kind, **options)
    return content.getvalue()


def array(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


def predictions() -> bytes:
    content = io.BytesIO()
    logits = np.linspace(-3, 3, 12, dtype=np.float16).reshape(4, 3)
    np.savez_compressed(content, logits=logits, correct=np.array([True, False, True, True]))
    return content.getvalue()


def pictures(folder: Path) -> None:
    (folder / "numbered.csv").write_text("path,label\nred/1.png,0\nblue/1.png,1\n")
    for name in ("red/1.png", "red/2.png", "blue/1.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(encoded("PNG"))


def mappings(folder: Path) -> None:
    (folder / "mappings").mkdir()
    files = {
        "folder_to_objectnet_label.json": {"chair": "Chair", "desk": "Desk"},
        "objectnet_to_imagenet_1k.json": {"Chair": "barber chair; folding chair", "Desk": "desk"},
        "pytorch_to_imagenet_2012_id.json": {"0": 0, "1": 1, "2": 2},
    }
    for name, table in files.items():
        (folder / "mappings" / name).write_text(json.dumps(table))
    names = "barber chair\nfolding chair\ndesk\n"
    (folder / "mappings" / "imagenet_to_label_2012_v2").write_text(names)


def source(path: Path, **options: Any) -> object:
    return listed(Source(path=path.name, **options), path.parent, "train")


def members(path: Path) -> None:
    for name in archives.names(path):
        archives.extent(path, name)
    source(path)


def whole(path: Path) -> None:
    """All that is asked of a picture, by its header and decoded."""
    image_file.examined(path, "header")
    image_file.examined(path, "decode")
    image_file.size(path)
    image_file.image(path)


def both(path: Path) -> None:
    prediction_file.read(path)
    prediction_file.read(path, "correct")


def listed_as(name: str, text: bytes, read: Any = source) -> Target:
    return Target(f"list {name}", damaged(text), name, read, pictures, MANY)


PICTURES = [
    *map(encoded, FORMATS),
    encoded(
        "JPEG",
        progressive=True,
        exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0",
    ),
    encoded("PNG", dpi=(300, 300)),
]
JPEG = [PICTURES[0], PICTURES[len(FORMATS)]]
TARGETS = [
    listed_as("list.csv", CSV),
    listed_as("list.tsv", CSV.replace(b",", b"\t")),
    listed_as("list.txt", LINES),
    listed_as(
        "labels.txt", b"red\nred\nblue\n", lambda p: labelled(["a.png", "b.png", "c.png"], p)
    ),
    listed_as(
        "classes.txt",
        b"red\nblue\ngreen\n",
        lambda p: listed(Source(path="numbered.csv", classes=p.name), p.parent, "train"),
    ),
    Target("manifest", damaged(MANIFEST), "m.csv", Manifest.load, lines=MANY),
    Target("protocols", texts(PROTOCOLS), "protocols.json", protocol.load, lines=MANY),
    Target("class map, YAML", texts(MAP, dump=yaml.safe_dump), "map.yaml", class_map.read),
    Target("class map, JSON", texts(MAP), "map.json", class_map.read),
    Target(
        "class map, CSV",
        damaged(b"folder,class\ncats,cat\ndogs,dog\ndogs,puppy\nothers,\n"),
        "map.csv",
        class_map.read,
    ),
    Target(
        "ReaL labels",
        texts(REAL),
        "real.json",
        lambda path: real.labels(path, NAMES, wnids()),
    ),
    *(
        Target(
            f"ObjectNet's {kind}",
            texts(value),
            f"mappings/{name}",
            lambda path: objectnet.positions(path.parents[1]),
            mappings,
            named=False,
        )
        for kind, name, value in (
            ("folders", "folder_to_objectnet_label.json", {"chair": "Chair", "desk": "Desk"}),
            ("numbers", "pytorch_to_imagenet_2012_id.json", {"0": 0, "1": 1, "2": 2}),
        )
    ),
    Target("tar of class folders", damaged(tar(False)), "a.tar", members, lines=MANY),
    Target("tar with labels", damaged(tar(True)), "a.tar", members, lines=MANY),
    Target("JPEG", damaged(*JPEG), "a.jpg", whole, also=(ValueError, OSError, SyntaxError)),
    Target(
        "other pictures",
        damaged(*PICTURES),
        "a.png",
        whole,
        also=(ValueError, OSError, SyntaxError),
    ),
    Target(
        "predictions",
        damaged(predictions()),
        "heldout.npz",
        both,
        also=(prediction_file.Unreadable,),
    ),
    Target(
        "index of held-out images",
        damaged(array(np.array([0, 1, 1, 0])), array(np.array([0.0, 3.0]))),
        "index.npy",
        _read_index,
    ),
    Target("names of held-out images", damaged(LINES), "index.txt", _read_index),
]
