"""Make a small data set of playing cards on photographs: what a first data set of one's own looks like.

    python benchmarks/cards.py ../shared/real/coco_subset /tmp/cards

Draws cards of six ranks, turns, lights and blurs them, and lays one to four of them on each crop of a photograph. By
default 240 training and 60 validation images of 640 x 640 pixels with a COCO json. Same seed, same images. The
photographs belong to others, so the images stay on the machine that makes them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

RANKS = {"ace": "A", "king": "K", "queen": "Q", "jack": "J", "ten": "10", "nine": "9"}
SIDE, CARD = 640, (250, 350)  # pixels of an image's side; (width, height) of a card before it is laid
COLOURS = {"heart": (190, 20, 30), "diamond": (200, 40, 30), "spade": (20, 20, 25), "club": (25, 30, 25)}


def main() -> None:
    """Draw the images and write the annotations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help="a folder with photographs, searched with all its folders")
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, default=240)
    parser.add_argument("--val", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    photographs = sorted(arguments.photographs.rglob("*.jpg"))
    for split, count in (("train", arguments.train), ("val", arguments.val)):
        write_split(arguments.out, split, count, photographs, np.random.default_rng([arguments.seed, len(split)]))


def write_split(out: Path, split: str, count: int, photographs: list[Path], rng: np.random.Generator) -> None:
    """Draw the images of one split."""
    (out / split).mkdir(parents=True, exist_ok=True)
    (out / "annotations").mkdir(exist_ok=True)
    images, annotations = [], []
    for number in range(1, count + 1):
        picture, found = draw(Image.open(photographs[rng.integers(len(photographs))]).convert("RGB"), rng)
        name = f"{split}_{number:04d}.jpg"
        picture.save(out / split / name, quality=90)
        images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
        for label, (x1, y1, x2, y2) in found:
            box = [x1, y1, x2 - x1, y2 - y1]
            about = {"image_id": number, "category_id": label, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, **about})
    categories = [{"id": label, "name": name} for label, name in enumerate(RANKS, start=1)]
    facts = {"images": images, "annotations": annotations, "categories": categories}
    (out / "annotations" / f"instances_{split}.json").write_text(json.dumps(facts))


def draw(photograph: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, list]:
    """A crop of a photograph with one to four cards on it, and their (label, box) in pixels."""
    least = min(photograph.size)
    side = int(least * rng.uniform(0.6, 1))
    left, top = (int(rng.integers(0, length - side + 1)) for length in photograph.size)
    picture = photograph.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))
    found: list = []
    for _ in range(int(rng.integers(1, 5))):
        label = int(rng.integers(1, len(RANKS) + 1))
        card = laid(face(list(RANKS.values())[label - 1], rng), rng)
        for _ in range(20):
            x, y = (int(rng.integers(0, SIDE - length + 1)) for length in card.size)
            x1, y1, x2, y2 = card.getchannel("A").getbbox()
            box = (x + x1, y + y1, x + x2, y + y2)
            if all(_covered(box, other) < 0.2 for _, other in found):
                picture.paste(card, (x, y), card)
                found.append((label, box))
                break
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.6))))
    noisy = np.asarray(picture, np.float32) + rng.normal(0, rng.uniform(1, 9), (SIDE, SIDE, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)), found


def face(rank: str, rng: np.random.Generator) -> Image.Image:
    """A card seen from the front: the rank and the suit in two corners, and pips or a figure between them."""
    width, height = CARD
    suit = list(COLOURS)[rng.integers(4)]
    colour = COLOURS[suit]
    card = Image.new("RGBA", CARD, (0, 0, 0, 0))
    pen = ImageDraw.Draw(card)
    pen.rounded_rectangle((0, 0, width - 1, height - 1), 18, (248, 246, 240, 255), (120, 120, 120, 255), 2)
    corner = Image.new("RGBA", CARD, (0, 0, 0, 0))
    of_corner = ImageDraw.Draw(corner)
    of_corner.text((12, 2), rank, colour, ImageFont.load_default(64))
    _suit(of_corner, suit, 34, 96, 17)
    for turned in (corner, corner.rotate(180)):
        card.alpha_composite(turned)
    if rank in "KQJ":
        tints = {"K": (70, 90, 170), "Q": (180, 140, 40), "J": (60, 130, 80)}
        pen.rectangle((72, 70, width - 72, height - 70), tints[rank], colour, 4)
        for y in range(80, height - 80, 22):
            pen.line((76, y, width - 76, y + 12), tuple(255 - c for c in tints[rank]), 4)
        pen.ellipse((100, 90, 150, 150), (240, 210, 180), colour, 3)
        pen.ellipse((100, height - 150, 150, height - 90), (240, 210, 180), colour, 3)
    elif rank == "A":
        _suit(pen, suit, width // 2, height // 2, 55)
    else:
        rows = 5 if rank == "10" else 4
        for row in range(rows):
            for x in (95, width - 95):
                _suit(pen, suit, x, int(70 + row * (height - 140) / (rows - 1)), 20)
        if rank == "9":
            _suit(pen, suit, width // 2, height // 2, 20)
    return card


def laid(card: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A card as a camera sees it: smaller, in perspective, turned, and lit from a side."""
    width, height = card.size
    lean = rng.uniform(-0.12, 0.12, 8) * np.tile([width, height], 4)
    quad = np.array([0, 0, 0, height, width, height, width, 0]) + lean
    card = card.transform(card.size, Image.Transform.QUAD, tuple(quad), Image.Resampling.BILINEAR)
    scale = float(rng.uniform(0.35, 0.95))
    card = card.resize((int(width * scale), int(height * scale)), Image.Resampling.BOX)
    card = card.rotate(float(rng.uniform(-180, 180)), Image.Resampling.BICUBIC, expand=True)
    alpha = card.getchannel("A")
    lit = ImageEnhance.Brightness(card.convert("RGB")).enhance(float(rng.uniform(0.45, 1.1)))
    shade = np.linspace(*rng.uniform(0.6, 1.1, 2), lit.width)[None, :, None] * rng.uniform(0.85, 1.1, 3)
    lit = Image.fromarray((np.asarray(lit) * shade).clip(0, 255).astype(np.uint8))
    lit.putalpha(alpha)
    return lit


def _suit(pen: ImageDraw.ImageDraw, suit: str, x: int, y: int, r: int) -> None:
    """A suit's sign around (x, y), 2 r wide."""
    colour, half = COLOURS[suit], r // 2
    if suit == "diamond":
        pen.polygon([(x, y - r), (x + 0.75 * r, y), (x, y + r), (x - 0.75 * r, y)], colour)
        return
    up = 1 if suit == "heart" else -1
    lobes = [(x - half, y - up * half // 2), (x + half, y - up * half // 2)]
    if suit == "club":
        lobes = [(x - half, y + half // 2), (x + half, y + half // 2), (x, y - half)]
    for cx, cy in lobes:
        pen.ellipse((cx - half, cy - half, cx + half, cy + half), colour)
    if suit != "club":
        pen.polygon([(x - r, y - up * half // 4), (x + r, y - up * half // 4), (x, y + up * r)], colour)
    if suit != "heart":
        pen.polygon([(x, y), (x - half, y + r), (x + half, y + r)], colour)


def _covered(first: tuple, second: tuple) -> float:
    """The intersection of two boxes as a share of the smaller one."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (first, second)]
    return max(0, width) * max(0, height) / min(areas)


if __name__ == "__main__":
    main()
