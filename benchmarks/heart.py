"""How fast the evaluator is, beside the usual ways: everything on the same data in one run.

    python benchmarks/heart.py                     5,000 and 500 images of made-up data of the size of COCO
    python benchmarks/heart.py --quick             500 images, few repeats
    python benchmarks/heart.py --eight-bit         scores in steps of 1/256, most of them ties
    python benchmarks/heart.py --real FOLDER       the raw predictions of a real SSD
    python benchmarks/heart.py --growth            from 1,250 to 20,000 images, the evaluator alone

See README.md beside this file for what each line means. Every measurement has a process of its own; "one core" is one
core and one thread. On a machine that does something else as well, ratios hold better than times.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import coco_scale
import real_ssd
from coco_scale import Files
from measuring import Times, cores, grid, human, machine, run
from rivals import RIVALS, SLOW, missing

AUTHORS = next(iter(RIVALS))
GROWTH = (1250, 2500, 5000, 10_000, 20_000)
FEW_ROWS = 2_000_000
"""Below this many, other configurations than the full one are compared with pycocotools too."""

MEGABYTE = 1e6


def main() -> None:
    """Measure what is asked for, print it as it is found, and keep it as JSON if a file is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 500], help="numbers of images (5000 500)")
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="measure on a real detector's table instead")
    parser.add_argument("--eight-bit", action="store_true", help="scores in steps of 1/256")
    parser.add_argument("--growth", action="store_true", help=f"{GROWTH[0]:,} to {GROWTH[-1]:,} images")
    parser.add_argument("--quick", action="store_true", help="500 images, few repeats, a short search")
    parser.add_argument("--no-rivals", action="store_true", help="the evaluator alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep all figures here as well")
    options = parser.parse_args()
    if options.quick:
        options.images = [500]
    sys.stdout.reconfigure(line_buffering=True)

    about = machine()
    print(f"{about['processor']}, {about['cores']} cores, {about['system']}, Python {about['python']}")
    print(", ".join(f"{name} {version}" for name, version in about["versions"].items()))
    if about["load"] is not None:
        busy = about["load"] > 0.3
        print(f"load average {about['load']:.2f}" + (": something else is running, times are too long" if busy else ""))
    found: dict[str, Any] = {"machine": about}
    if options.growth:
        found["growth"] = growth(options)
    elif options.real:
        found["real"] = data_set(options.real.name, real_ssd.files(options.real), options, aims=False)
    else:
        for images in options.images:
            made = coco_scale.files(images, eight_bit=options.eight_bit)
            title = f"{images:,} images" + (", 8-bit scores" if options.eight_bit else "")
            found[str(images)] = data_set(title, made, options, aims=images == 5000 and not options.eight_bit)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def data_set(title: str, made: Files, options: argparse.Namespace, aims: bool) -> dict[str, Any]:
    """Everything about one table."""
    print(f"\n== {title}: {made.predictions.name}\n")
    found = {"ours": ours(made, options)}
    print_ours(found["ours"])
    if not options.no_rivals:
        found["rivals"] = rivals(made, options)
        print_rivals(found["rivals"], found["ours"])
        if found["ours"]["one core"]["rows"] < FEW_ROWS:
            found["verified"] = run("ours", "verify", made.predictions, made.truth, "--repeats", "3")
            print(
                "{configurations} configurations: largest difference to {AUTHORS} {largest difference}".format(
                    AUTHORS=AUTHORS, **found["verified"]
                )
            )
    found["floor"] = run("floor", made.predictions, made.truth, single=True)
    print_floor(found["floor"], found["ours"])
    print_aims(found, aims)
    return found


# --------------------------------------------------------------------------------------------------------- measuring


def ours(made: Files, options: argparse.Namespace) -> dict[str, Any]:
    """The evaluator on one core and on all."""
    repeats = ("--repeats", "1" if options.quick else "3")
    most = ("--most", "500") if options.quick else ()
    everywhere = ("--threads", str(cores()))
    found = {
        "one core": run("ours", "answers", made.predictions, made.truth, *repeats, single=True),
        "all cores": run("ours", "answers", made.predictions, made.truth, *repeats, *everywhere),
        "memory": run("ours", "memory", made.predictions, made.truth, *everywhere),
        "all rows": run("ours", "answers", made.predictions, made.truth, "--repeats", "1", "--keep-all", single=True),
    }
    for name, arguments, single in (("one core", (), True), ("all cores", everywhere, False)):
        found[name]["search"] = run(
            "ours", "search", made.predictions, made.truth, *most, *arguments, single=single
        )  # fmt: skip
    return found


def rivals(made: Files, options: argparse.Namespace) -> dict[str, Any]:
    """Every rival that is installed, on one core."""
    found = {}
    for name in RIVALS:
        install = missing(name)
        if install:
            print(f"{name} is left out; to have it: {install}")
            continue
        repeats = "1" if name in SLOW or options.quick else "3"
        found[name] = run("rivals", name, made.predictions, made.truth, "--repeats", repeats, single=True)
    return found


def growth(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The evaluator on more and more images."""
    everywhere = ("--threads", str(cores()))
    found = []
    rows = [
        ("images", "rows", "build", "per 1,000", "child", "per 1,000", "subset", "per 1,000", "memory", "per 1,000")
    ]
    for images in GROWTH:
        made = coco_scale.files(images, eight_bit=options.eight_bit)
        figures = run("ours", "answers", made.predictions, made.truth, "--repeats", "1", *everywhere)
        most = run("ours", "memory", made.predictions, made.truth, *everywhere)["asked children"]
        found.append({"images": images, **figures, "memory": most})
        thousands = images / 1000
        times = [median(figures[name]) for name in ("build", "child", "subset")]
        cells = [text for seconds in times for text in (human(seconds), human(seconds / thousands))]
        cells += [f"{most / MEGABYTE:.0f} MB", f"{most / MEGABYTE / thousands:.0f} MB"]
        rows.append((f"{images:,}", f"{figures['rows']:,}", *cells))
        print(f"{images:,} images done")
    print("\nOn all cores:\n" + grid(rows))
    # Linear: a thousand images cost the same among many as among few.
    shares = [[median(figures[name]) / figures["images"] for figures in found] for name in ("build", "child", "subset")]
    shares.append([figures["memory"] / figures["images"] for figures in found])
    last = [f"{share[-1] / share[0]:.2f}" for share in shares]
    print(
        f"a thousand of {GROWTH[-1]:,} images against a thousand of {GROWTH[0]:,}: build, child, subset, memory x "
        f"{', '.join(last)}"
    )
    return found


# ---------------------------------------------------------------------------------------------------------- printing


def print_ours(found: dict[str, Any]) -> None:
    """Times on one core and on all, the search, the memory."""
    names = {
        "load": "loading the table",
        "build": "building the evaluator",
        "first accuracy": "the first accuracy after that",
        "child": "one child, batched",
        "stats of a child": "all 12 figures of a child, batched",
        "subset": "an arbitrary subset",
        "other NMS": "another NMS IoU",
        "other NMS, first accuracy": "... and the first accuracy",
        "other cap": "another cap",
        "other cap, first accuracy": "... and the first accuracy",
    }
    rows = [("the evaluator", "one core", f"all {cores()} cores")]
    sides = found["one core"], found["all cores"]
    rows += [(name, *(str(Times(tuple(side[key]))) for side in sides)) for key, name in names.items()]
    rows.append(("one configuration within a search", *(human(in_search(side)) for side in sides)))
    print(grid(rows))
    print_left_out(sides[0], found["all rows"])
    shares = [f"{place} {share:.0%}" for place, share in sides[0]["where"].items() if share > 0.01]
    print(f"where the time of a child goes: {', '.join(shares)}")
    search = sides[0]["search"]
    ended = f"frontier of {search['frontier']}" if search["whole"] else "ended there"
    print(f"search: Algorithm 1, {search['configurations']:,} configurations, AP may fall by {search['loss']}, {ended}")
    steps = [f"{name} {value / MEGABYTE:.0f} MB" for name, value in found["memory"].items()]
    print(f"most memory held until: {', '.join(steps)}")


def print_left_out(own: dict[str, Any], whole: dict[str, Any]) -> None:
    """What is left out of the tables, and what that gives."""
    rows = [("one core", "rows", "suppressions", "tables", "build", "one child", "an arbitrary subset")]
    for name, found in (("as it is", own), ("with nothing left out", whole)):
        times = [human(median(found[key])) for key in ("build", "child", "subset")]
        size = f"{found['memory'] / MEGABYTE:.0f} MB"
        rows.append((name, f"{found['rows left']:,}", f"{found['suppressions']:,}", size, *times))
    print(f"\n{grid(rows)}\n")


def print_rivals(found: dict[str, Any], own: dict[str, Any]) -> None:
    """Steps of one configuration, and how the answers compare."""
    child = median(own["one core"]["child"])
    heads = ("one configuration, one core", "NMS", "conversion", "evaluation", "together", "for AP alone")
    rows = [(*heads, "times a child", "AP alone: times a child")]
    notes = []
    for name, figures in found.items():
        steps = {step: median(seconds) if seconds else None for step, seconds in figures["times"].items()}
        whole, short = total(figures), total(figures, ap_alone=True)
        cells = [human(steps[step] or 0) for step in ("nms", "conversion", "evaluation")]
        cells += [human(whole), human(short) if steps["evaluation_ap"] else "-", f"{whole / child:,.0f} x"]
        rows.append((name, *cells, f"{short / child:,.0f} x" if steps["evaluation_ap"] else "-"))
        stats = own["one core"]["stats"]
        largest = max(abs(value - stats[key]) for key, value in figures["stats"].items())
        other = figures["detections"] - own["one core"]["detections"]
        if largest or other:
            notes.append(f"{name}: the 12 figures differ from ours by up to {largest:.1g}, detections by {other:+d}")
            if name.startswith("torchvision"):
                notes[-1] += " (batched_nms shifts boxes by float32 offsets, and leaves ties to chance)"
    print("\n" + grid(rows))
    equal = len(found) - len(notes)
    print("\n".join([*notes, f"{equal} of {len(found)} rivals give our 12 figures to the last bit"]))


def print_floor(found: dict[str, Any], own: dict[str, Any]) -> None:
    """What a child must read, and how near we are."""
    child, floor = median(own["one core"]["child"]), found["bytes"] / found["bandwidth"]
    parts = ", ".join(f"{name} {size / 1e3:.0f} kB" for name, size in found["parts"].items())
    print(f"\nfloor: a child changes {found['changed']:,.0f} detections in {found['images']:,.0f} images, on average")
    print(f"cache lines it must read: {found['bytes'] / MEGABYTE:.2f} MB ({parts})")
    picked = found["bytes"] / found["picking"]
    print(f"reading as much in one piece: {human(floor)} ({found['bandwidth'] / 1e9:.1f} GB/s)")
    print(f"picking as many lines out of a large array: {human(picked)} ({found['picking'] / 1e9:.1f} GB/s)")
    print(f"a child on one core takes {child / floor:.1f} x the former, {child / picked:.1f} x the latter")


def print_aims(found: dict[str, Any], binding: bool) -> None:
    """What was to be reached, and what is."""
    one, every = found["ours"]["one core"], found["ours"]["all cores"]
    rows = [("measure", "aim", "measured", "holds")]

    def judge(name: str, aim: str, value: float, text: str) -> None:
        """`aim` begins with a number; with "or more" in it, more is better."""
        limit = float(aim.split()[0].replace(",", ""))
        holds = value >= limit if "or more" in aim else value <= limit
        rows.append((name, aim, text, ("yes" if holds else "NO") if binding else "-"))

    child, searched = median(every["child"]), in_search(every)
    ratio = median(one["stats of a child"]) / median(one["child"])
    judge("one child, batched", "2 ms or less", 1000 * child, f"{1000 * child:.2f} ms")
    judge("one configuration in a search", "3 ms or less", 1000 * searched, f"{1000 * searched:.2f} ms")
    subset = 1000 * median(every["subset"])
    judge("an arbitrary subset", "25 ms or less", subset, f"{subset:.1f} ms")
    judge("all 12 figures of a child / AP, one core", "3 x or less", ratio, f"{ratio:.2f} x")
    judge("building from a loaded table", "8 s or less", median(every["build"]), f"{median(every['build']):.2f} s")
    most = found["ours"]["memory"]["asked children"] / MEGABYTE
    judge("peak memory", "1000 MB or less", most, f"{most:.0f} MB")
    best = best_peer(found.get("rivals", {}))
    if AUTHORS in found.get("rivals", {}):
        times = total(found["rivals"][AUTHORS]) / median(one["child"])
        judge("a child and the authors' way, one core", "10,000 x or more", times, f"{times:,.0f} x")
    if best:
        peer = total(found["rivals"][best], ap_alone=True)
        for name, aim, seconds in (("a child", "500", median(one["child"])), ("in a search", "400", in_search(one))):
            text = f"{peer / seconds:,.0f} x"
            judge(f"{name} and {best}, AP alone, one core", f"{aim} x or more", peer / seconds, text)
    heading = "aims" if binding else "as if this were 5,000 images of made-up data (the aims are for those)"
    print(f"\n{heading}\n{grid(rows)}")


def best_peer(found: dict[str, Any]) -> str | None:
    """The fastest rival with a compiled NMS."""
    compiled = [name for name in found if name not in SLOW]
    return min(compiled, key=lambda name: total(found[name], ap_alone=True), default=None)


def total(figures: dict[str, Any], ap_alone: bool = False) -> float:
    """Seconds of one configuration; for AP alone where the rival can leave out the rest."""
    times = figures["times"]
    last = times["evaluation_ap"] if ap_alone and times["evaluation_ap"] else times["evaluation"]
    return median(times["nms"]) + median(times["conversion"]) + median(last)


def in_search(figures: dict[str, Any]) -> float:
    """Seconds of one configuration within a search."""
    return float(figures["search"]["seconds"] / figures["search"]["configurations"])


def median(seconds: list[float]) -> float:
    """The middle one."""
    return Times(tuple(seconds)).median


if __name__ == "__main__":
    main()
