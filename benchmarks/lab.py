"""Training with the lab's page open against training without it; how soon a page learns; frames; fifty viewers.

What      The views Play on spirals (perceptron 8-8) and on digits (`cnn`), run as fast as they go.
Against   The same steps in a plain loop, without a lab: same net, data, batches and update rule. It picks the samples
          of a batch at each step, as the program does that the page shows; the lab picks those of an epoch at once.
Targets   Training at 0.9 of its speed without the lab while a page watches, and while Chromium draws; 30 frames a
          second drawn by headless Chromium meanwhile, its first paint within 1 s; 50 viewers of one job, each with
          frames, at the speed with one.
How       Loop, lab with a page that only watches, and the loop beside a process that counts, in turns, each with one
          thread; steps counted over some seconds after a warm-up; medians and ranges. The same first steps lead to the
          same loss, which is asserted. The speed of the machine drifts by a fifth within a minute: so one lab with
          Chromium is paused and runs again every few seconds, and the loop runs in the pauses.
          Frames: how often the first figure of the page is drawn anew in a second, as each frame of the lab has it.
          Opening: a page that is opened as soon as the lab has told its address, and one some seconds later.
Needs     The built page (`make web`) and chromium.
Result    benchmarks/results/lab.md, with versions, hardware and date, written by this script:

    python benchmarks/lab.py [--turns 5] [--seconds 5]
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
import websockets
from machine import setting, write_result
from torch.nn import functional as F

from commonweight.lab.frames import decode
from commonweight.lab.sessions import open_session

SETTINGS: dict[str, dict[str, Any]] = {"spirals, perceptron 8-8": {}, "digits, cnn": {"data": "digits", "net": "cnn"}}
VIEWERS = 50
SETTLE_SECONDS = 10.0
"""After a view was opened; in the first of them the lab loads a spare worker for the next one."""

SLICE_SECONDS, SLICES = 2.0, 15

WARM_SECONDS = 20.0
"""By then a lab that was left alone has loaded what its first views need."""

CHECKED_STEPS = 20
LEAST_SPEED, LEAST_FRAMES, MOST_PAINT_MS = 0.9, 30, 1000
WEB = Path(__file__).parents[1] / "web"


def plain_loop(settings: dict[str, Any], seconds: float) -> tuple[float, float]:
    """Steps a second of a loop without a lab, and its loss after the first steps."""
    torch.set_num_threads(1)
    session = open_session("play", Path.cwd())
    session.change(settings)
    net, optimizer, x, y = session.net, session.optimizer, session.train, session.labels
    batch, step, checked = session.batch, 0, 0.0
    batches = len(x) // batch

    def advance() -> float:
        if step % batches == 0:
            advance.order = torch.from_numpy(np.random.default_rng([0, step // batches]).permutation(len(x)))
        chosen = advance.order[step % batches * batch :][:batch]
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x[chosen]), y[chosen])
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    net.train()
    while step < CHECKED_STEPS:
        checked = advance()
        step += 1
    began, first = time.perf_counter(), step
    while time.perf_counter() - began < seconds:
        advance()
        step += 1
    return (step - first) / (time.perf_counter() - began), checked


@asynccontextmanager
async def lab() -> AsyncIterator[str]:
    """The address of a lab of its own."""
    code = "from commonweight.cli import main; main()"
    command = [sys.executable, "-c", code, "lab", "--port", "0", "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+/", process.stdout.readline())
        assert found is not None
        yield found[0]
    finally:
        process.terminate()
        process.wait()


@asynccontextmanager
async def viewer(address: str, settings: dict[str, Any] | None) -> AsyncIterator[Any]:
    parts = urlsplit(address)
    origin = f"http://{parts.netloc}"
    url = address.replace("http:", "ws:") + "ws"
    async with websockets.connect(url, origin=origin, max_size=1 << 26) as socket:
        await socket.send(json.dumps({"type": "open", "view": "play", "subject": "", "settings": settings}))
        yield socket


async def frame(socket: Any) -> Any:
    """The next live frame."""
    while True:
        message = await socket.recv()
        if isinstance(message, bytes) and (found := decode(message)).kind == "live":
            return found


async def watched(settings: dict[str, Any], seconds: float) -> tuple[float, float, float]:
    """Steps a second with a page that watches, at first and settled, and the loss after the first steps."""
    async with lab() as address, viewer(address, settings) as socket:
        await frame(socket)
        await socket.send(json.dumps({"type": "step", "count": CHECKED_STEPS}))
        while (seen := await frame(socket)).step < CHECKED_STEPS:
            pass
        checked = seen.values["loss"]
        await socket.send(json.dumps({"type": "run", "steps_per_second": 0}))
        while (await frame(socket)).step < CHECKED_STEPS + 10:
            pass
        first = await counted(socket, seconds)
        await counted(socket, max(0.0, SETTLE_SECONDS - seconds))
        return first, await counted(socket, seconds), checked


async def counted(socket: Any, seconds: float) -> float:
    """Steps a second over the next seconds."""
    began, first = time.perf_counter(), await frame(socket)
    last = first
    while time.perf_counter() - began < seconds:
        last = await frame(socket)
    return (last.step - first.step) / (time.perf_counter() - began)


async def crowd(count: int, seconds: float) -> tuple[float, list[int]]:
    """Steps a second with so many viewers of one job, and the frames that each of them got."""
    async with lab() as address, viewer(address, {}) as first:
        await frame(first)
        opened = [viewer(address, None) for _ in range(count - 1)]
        sockets = [first, *[await opening.__aenter__() for opening in opened]]
        await first.send(json.dumps({"type": "run", "steps_per_second": 0}))
        until = time.perf_counter() + seconds

        async def watch(socket: Any) -> tuple[int, int, int]:
            start = last = await frame(socket)
            got = 0
            while time.perf_counter() < until:
                last, got = await frame(socket), got + 1
            return start.step, last.step, got

        seen = await asyncio.gather(*(watch(socket) for socket in sockets))
        for opening in opened:
            await opening.__aexit__(None, None, None)
    return (seen[0][1] - seen[0][0]) / seconds, [got for _, _, got in seen]


async def drawn(
    settings: dict[str, Any], seconds: float, slices: int, after: float = 0.0, settle: float = SETTLE_SECONDS
) -> tuple[dict[str, float], list[float], list[dict[str, float]]]:
    """How a page opens in headless Chromium, and slices of training: of the plain loop, and of the lab that it draws.

    Args:
        after: seconds from the address that the lab tells to the page that is opened.
        settle: seconds of training that are not counted.
    """
    query = "&".join(f"{key}={value}" for key, value in settings.items())
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    alone, shown = [], []
    async with lab() as address:
        await asyncio.sleep(after)
        command = ["node", "tests/frames.mjs", f"{address}#play?{query}", str(seconds), str(settle)]
        process = await asyncio.create_subprocess_exec(*command, cwd=WEB, **pipes)
        assert process.stdin is not None
        assert process.stdout is not None
        opened = json.loads(await process.stdout.readline())
        for _ in range(slices):
            alone.append(plain_loop(settings, seconds)[0])
            process.stdin.write(b"\n")
            shown.append(json.loads(await process.stdout.readline()))
        process.stdin.close()
        await process.wait()
    return opened, alone, shown


def beside_another(settings: dict[str, Any], seconds: float) -> float:
    """Steps a second of the plain loop while another process counts: what the machine itself takes from training."""
    counting = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        return plain_loop(settings, seconds)[0]
    finally:
        counting.kill()
        counting.wait()


def judged(holds: bool) -> str:
    return "PASS" if holds else "FAIL"


def beside_loop(speeds: list[float], alone: list[float], least: float = 0.0) -> str:
    """A median of speeds, and that of their ratios to the plain loop's, judged if they are to reach something."""
    ratios = [a / b for a, b in zip(speeds, alone, strict=True)]
    verdict = judged(median(ratios) >= least) if least else ""
    return f"{median(speeds):,.0f}: {median(ratios):.3f} {verdict} ({min(ratios):.2f} to {max(ratios):.2f})"


def spread(numbers: list[float]) -> str:
    return f"{median(numbers):,.0f} ({min(numbers):,.0f} to {max(numbers):,.0f})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    rows, frames = [], []
    for name, settings in SETTINGS.items():
        speeds: dict[str, list[float]] = {"alone": [], "first": [], "settled": [], "beside": []}
        for _ in range(given.turns):
            speed, loss = plain_loop(settings, given.seconds)
            first, settled, same = asyncio.run(watched(settings, given.seconds))
            assert abs(loss - same) < 1e-4, f"{name}: the lab came to {same}, the loop to {loss}"
            beside = beside_another(settings, given.seconds)
            for row, one in zip(speeds.values(), (speed, first, settled, beside), strict=True):
                row.append(one)
        alone = speeds.pop("alone")
        told = [beside_loop(speeds[key], alone, LEAST_SPEED) for key in ("first", "settled")]
        told = [spread(alone), *told, beside_loop(speeds["beside"], alone)]
        rows.append(f"| {name} | {' | '.join(told)} |")
        _, alone, shown = asyncio.run(drawn(settings, SLICE_SECONDS, SLICES))
        speed, drawings = ([one[key] for one in shown] for key in ("steps", "drawn"))
        told = [spread(alone), beside_loop(speed, alone, LEAST_SPEED)]
        told.append(f"{spread(drawings)} {judged(median(drawings) >= LEAST_FRAMES)}")
        frames.append(f"| {name} | {' | '.join(told)} |")
    opening = []
    for when, after in (("as soon as the lab has told its address", 0.0), (f"{WARM_SECONDS:g} s later", WARM_SECONDS)):
        seen, _, _ = asyncio.run(drawn({}, 1.0, 0, after, 1.0))
        painted = f"{seen['painted']:,.0f} {judged(seen['painted'] <= MOST_PAINT_MS)}"
        opening.append(f"| {when} | {painted} | {seen['viewed']:,.0f} | {seen['learned']:,.0f} |")
    one, _ = asyncio.run(crowd(1, given.seconds))
    many, got = asyncio.run(crowd(VIEWERS, given.seconds))
    text = f"""# The lab while it trains

{setting()}; {given.turns} turns of {given.seconds:g} s each; written by `python benchmarks/lab.py`.

Targets: training at {LEAST_SPEED} of the plain loop's speed, {LEAST_FRAMES} frames a second, first paint within
{MOST_PAINT_MS:,} ms.

Steps a second, median of the turns; behind a colon the ratio to the plain loop, median and range of the turns. A page
that watches reads each frame and draws nothing; "settled" is {SETTLE_SECONDS:g} s after it was opened, when the lab has
loaded the spare worker for its next view. Beside it stands what any busy process costs the plain loop on this machine.

| view Play | plain loop | watched, first {given.seconds:g} s | watched, settled | busy process |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

Headless Chromium, 1280×800, draws without a graphics card, on the same processor. The plain loop and the lab with
Chromium in turns of {SLICE_SECONDS:g} s, {SLICES} of each: steps a second, and frames that are drawn in a second.

| view Play | plain loop | Chromium draws | frames |
| --- | --- | --- | --- |
{chr(10).join(frames)}

Opening the view Play on spirals in headless Chromium, milliseconds:

| opened | first paint | the view is there | from the click on Run to the first new step |
| --- | --- | --- | --- |
{chr(10).join(opening)}

{VIEWERS} viewers of one job (spirals): {many:,.0f} steps a second, with one viewer {one:,.0f}; each viewer got
{min(got)} to {max(got)} frames in {given.seconds:g} s.
"""
    write_result("lab", text)


if __name__ == "__main__":
    main()
