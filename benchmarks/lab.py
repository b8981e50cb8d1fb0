"""Training with the lab's page open against training without it; how soon a page learns; frames; fifty viewers.

What      The views Play on spirals (perceptron 8-8) and on digits (`cnn`), run as fast as they go.
Against   The same steps in a plain loop, without a lab: same net, data, batches and update rule.
Targets   Training at 0.9 of its speed without the lab while a page watches; 30 frames a second drawn by headless
          Chromium while it trains, its first paint within 1 s; 50 viewers of one job, each with frames, at the speed
          with one.
How       Loop and lab in turns, each a process of its own with one thread; steps counted over some seconds after a
          warm-up; medians and ranges of the turns. The same first steps lead to the same loss, which is asserted.
          Frames: how often the step that the page shows changes in a second, and how often the browser draws.
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
WARM_SECONDS = 20.0
"""By then a lab that was left alone has loaded what its first views need."""

CHECKED_STEPS = 20
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


async def watched(settings: dict[str, Any], seconds: float) -> tuple[float, float]:
    """Steps a second with a page that watches, and the loss after the first steps."""
    async with lab() as address, viewer(address, settings) as socket:
        await frame(socket)
        await socket.send(json.dumps({"type": "step", "count": CHECKED_STEPS}))
        while (seen := await frame(socket)).step < CHECKED_STEPS:
            pass
        checked = seen.values["loss"]
        await socket.send(json.dumps({"type": "run", "steps_per_second": 0}))
        while (first := await frame(socket)).step < CHECKED_STEPS + 10:
            pass
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            last = await frame(socket)
        return (last.step - first.step) / (time.perf_counter() - began), checked


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


async def drawn(settings: dict[str, Any], seconds: float, after: float = 0.0) -> dict[str, float]:
    """What a headless Chromium draws while the lab trains, opened some seconds after the lab has told its address."""
    query = "&".join(f"{key}={value}" for key, value in settings.items())
    async with lab() as address:
        await asyncio.sleep(after)
        command = ["node", "tests/frames.mjs", f"{address}#play?{query}", str(seconds)]
        process = await asyncio.create_subprocess_exec(*command, cwd=WEB, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
    return json.loads(out)


def spread(numbers: list[float]) -> str:
    return f"{median(numbers):,.0f} ({min(numbers):,.0f} to {max(numbers):,.0f})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    rows, frames = [], []
    for name, settings in SETTINGS.items():
        alone, with_lab = [], []
        for _ in range(given.turns):
            speed, loss = plain_loop(settings, given.seconds)
            seen, same = asyncio.run(watched(settings, given.seconds))
            assert abs(loss - same) < 1e-4, f"{name}: the lab came to {same}, the loop to {loss}"
            alone.append(speed)
            with_lab.append(seen)
        ratio = median(b / a for a, b in zip(alone, with_lab, strict=True))
        rows.append(f"| {name} | {spread(alone)} | {spread(with_lab)} | {ratio:.2f} |")
        counted = asyncio.run(drawn(settings, given.seconds))
        frames.append(f"| {name} | {counted['drawn']:.0f} | {counted['changed']:.0f} |")
    opening = []
    for when, after in (("as soon as the lab has told its address", 0.0), (f"{WARM_SECONDS:g} s later", WARM_SECONDS)):
        seen = asyncio.run(drawn({}, 1.0, after))
        opening.append(f"| {when} | {seen['painted']:,.0f} | {seen['viewed']:,.0f} | {seen['learned']:,.0f} |")
    one, _ = asyncio.run(crowd(1, given.seconds))
    many, got = asyncio.run(crowd(VIEWERS, given.seconds))
    text = f"""# The lab while it trains

{setting()}; {given.turns} turns of {given.seconds:g} s each; written by `python benchmarks/lab.py`.

Steps a second, median of the turns with their range; the ratio is the median over the turns.

| view Play | plain loop | with the lab and a page that watches | ratio |
| --- | --- | --- | --- |
{chr(10).join(rows)}

Headless Chromium, 1280×800, a second while it trains:

| view Play | times it draws | new frames of the lab among them |
| --- | --- | --- |
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
