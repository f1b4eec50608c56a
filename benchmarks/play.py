"""The page of `mnistlab play`: its size, how long it takes to make, how long after a stroke the
answer is there: `python -m benchmarks.play RUN`, on a run that is trained, prints one line of JSON.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# The page answers with the next picture of the screen; here at once, so that only its work counts.
AT_ONCE = """requestAnimationFrame = work => queueMicrotask(work);
Element.prototype.setPointerCapture = () => {};"""
# Draws 3s; returns for each the milliseconds from the end of the stroke to the answer on the page.
TIMES = """async () => {
  const box = canvas.getBoundingClientRect(), times = [];
  const send = (type, x, y) => canvas.dispatchEvent(new PointerEvent(type, {
    pointerId: 1, clientX: box.x + x * box.width / 280, clientY: box.y + y * box.width / 280}));
  for (let n = 0; n < 25; n++) {
    document.getElementById("clear").click();
    await 0;
    send("pointerdown", 80, 60 + n);
    for (let t = 0; t < 1; t += 0.06) {
      send("pointermove", 110 + 70 * Math.abs(Math.sin(2 * Math.PI * t)), 60 + n + 140 * t);
      await 0;
    }
    const start = performance.now();
    send("pointerup", 110, 200 + n);
    await 0;
    times.push(performance.now() - start);
    if (document.getElementById("answer").textContent.length !== 1) throw new Error("no answer");
  }
  return times.slice(5);
}"""


def measure(run: str) -> dict[str, float]:
    """Bytes, seconds beyond `import torch`, milliseconds of an answer (median, largest)."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "play.html"
        seconds = [
            _seconds(line)
            for _ in range(3)
            for line in (
                ["-c", "import torch"],
                ["-m", "mnistlab", "play", run, "-o", str(file), "-q"],
            )
        ]
        times: Any = _answers(file)
        return {
            "bytes": file.stat().st_size,
            "seconds": statistics.median(seconds[1::2]) - statistics.median(seconds[::2]),
            "median": statistics.median(times),
            "largest": max(times),
        }


def _seconds(line: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *line], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _answers(file: Path) -> Any:
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, NAMES)))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page()
        page.add_init_script(AT_ONCE)
        page.goto(file.as_uri())
        times = page.evaluate(TIMES)
        browser.close()
    return times


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
