"""How the page keeps up: frames while a slider moves over a picture of 12 megapixels, and what its first load takes.

    python benchmarks/web_app.py                     # needs Chromium, or its path in CHROMIUM, and the `test` extra
    python benchmarks/web_app.py --prompts 8

A real server with the bundled model and a real browser without a window, as it comes; without a graphics card it draws
in software. Prints one line of JSON; times are milliseconds between frames, of which 60 a second have 16.7.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

from playwright.sync_api import Page, sync_playwright

from clipseg.benchmark.materials import photograph
from clipseg.client import Client

SIZE_HW = (3000, 4000)
AS_IT_COMES = ["--no-sandbox"]  # which root cannot have

DRAG = """async ([name, lowest, highest, steps]) => {
  const slider = document.getElementById(name);
  const painted = () => Number(document.getElementById('overlay').dataset.painted);
  const first = painted();
  const times = [];
  let last = await new Promise(requestAnimationFrame);
  for (let step = 0; step < steps; step += 1) {
    slider.value = String(lowest + (highest - lowest) * Math.abs(Math.sin(step / 20)));
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }
  return { times, painted: painted() - first };
}"""

ANSWERED = """(count) => {
  const said = [...document.querySelectorAll('.chip .said')].map((one) => one.textContent);
  return said.filter((text) => text.includes('%')).length === count;
}"""

MOVES = {"threshold": (0.2, 0.8), "opacity": (0.2, 0.9), "smooth": (0, 4), "grow": (-4, 4), "feather": (0, 4)}
"""A slider -> from where to where it moves."""


def frames(page: Page, name: str, steps: int) -> dict[str, Any]:
    """A slider, moved so many times -> the times between frames, and the share of moves that were painted."""
    moved = page.evaluate(DRAG, [name, *MOVES[name], steps])
    times = sorted(moved["times"])
    return {
        "median_ms": round(statistics.median(times), 2),
        "p95_ms": round(times[int(0.95 * len(times))], 2),
        "painted": round(moved["painted"] / steps, 3),
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=3)
    parser.add_argument("--steps", type=int, default=240)
    arguments = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("there is no chromium; install it, or name one in CHROMIUM")
    with ExitStack() as stack:
        command = [sys.executable, "-m", "clipseg", "serve", "--port", "0", "--model", "nano", "--offline"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        stack.callback(server.wait)
        stack.callback(server.terminate)
        assert server.stdout is not None
        address = json.loads(server.stdout.readline())["address"]
        with Client(address) as client:
            client.wait(60)
        browser = stack.enter_context(sync_playwright()).chromium.launch(executable_path=chromium, args=AS_IT_COMES)
        stack.callback(browser.close)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        loaded: list[float] = []
        session.on("Network.loadingFinished", lambda event: loaded.append(event["encodedDataLength"]))
        page.goto(address, wait_until="networkidle")
        result: dict[str, Any] = {"first_load_kB": round(sum(loaded) / 1000, 1), "prompts": arguments.prompts}
        file = io.BytesIO()
        photograph(SIZE_HW, 1).save(file, "JPEG", quality=90)
        page.locator("#file").set_input_files(
            {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()}
        )
        for number in range(arguments.prompts):
            page.fill("#phrase", f"thing {number}")
            page.press("#phrase", "Enter")
        page.wait_for_function(ANSWERED, arg=arguments.prompts)
        frames(page, "threshold", arguments.steps)  # once to warm up
        for name in MOVES:
            result[name] = frames(page, name, arguments.steps)
            print(f"{name}: {result[name]}", file=sys.stderr)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
