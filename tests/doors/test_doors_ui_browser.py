"""The page in a real browser: from dropped images to a served model, wide and narrow, light and dark.

`make setup-browser` installs Chromium, Playwright and axe; without them these tests are skipped. REGRAFT_SHOTS names a
folder for screenshots of every page.
"""

import http.client
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
pytest.importorskip("playwright.sync_api", reason="no Playwright: make setup-browser")

from playwright.sync_api import sync_playwright

from doors.serving import draw, form
from regraft.reports.page import write_pages
from sample_findings import write_all
from sample_report import sample_report
from sound.test_sound_features import tones, wav

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or ""
AXE = Path(os.environ.get("REGRAFT_AXE", Path(__file__).parents[2] / "build/axe/axe.min.js"))
TINY = "googlenet:tiny@random"
CUT_OFF = """() => [
  ...document.querySelectorAll('a, button, input, select, textarea, h1, h2, h3, p, li, td, th, img, svg')]
  .filter((one) => one.checkVisibility() && !one.closest('.wide, pre, .skip, .hidden-text, [hidden]'))
  .filter((one) => { const at = one.getBoundingClientRect(); return at.right > innerWidth + 1 || at.left < -1; })
  .map((one) => one.outerHTML.slice(0, 120))"""
"""What stands outside the window, and does not scroll by itself."""
OVERLAPS = """() => {
  const shown = [
    ...document.querySelectorAll('a, button, input, select, textarea, h1, h2, h3, p, .state, summary, img')]
    .filter((one) => one.checkVisibility() && !one.closest('.skip, .hidden-text, [hidden], svg'));
  const found = [];
  for (const [at, a] of shown.entries()) for (const b of shown.slice(at + 1)) {
    if (a.contains(b) || b.contains(a)) continue;
    const [p, q] = [a.getBoundingClientRect(), b.getBoundingClientRect()];
    const x = Math.min(p.right, q.right) - Math.max(p.left, q.left);
    const y = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    if (x > 2 && y > 2) found.push(`${a.outerHTML.slice(0, 80)} over ${b.outerHTML.slice(0, 80)}`);
  }
  return found;
}"""
"""Pairs of things on top of each other."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM:
        pytest.skip("no Chromium: make setup-browser")
    with sync_playwright() as made:
        devices = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")  # a test image, beeps
        found = made.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *devices])
        yield found
        found.close()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dropped")
    for at, path in enumerate(draw(root / "all", 36)):
        folder = root / "kinds" / "abc"[at % 3]
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)
    return root / "kinds"


class Seen:
    """A window on a server of its own, whose every page is looked at."""

    def __init__(self, page: Any, address: str, name: str) -> None:
        self.page, self.address, self.name = page, address, name
        self.base = address.partition("/?")[0]
        self.said = list[str]()
        page.on("console", lambda one: self.said.append(one.text) if one.type == "error" else None)
        page.on("pageerror", lambda one: self.said.append(str(one)))
        page.set_default_timeout(600_000)

    def look(self, name: str) -> None:
        """Nothing is cut off or overlaps, axe has nothing serious to say, and no script went wrong."""
        self.page.wait_for_load_state()
        self.page.wait_for_timeout(300)
        if folder := os.environ.get("REGRAFT_SHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}-{self.name}.png", full_page=True)
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} scrolls sideways"
        assert self.page.evaluate(CUT_OFF) == [], name
        assert self.page.evaluate(OVERLAPS) == [], name
        assert self.said == [], name
        if AXE.is_file():
            self.page.evaluate(AXE.read_text(encoding="utf-8"))
            found = self.page.evaluate("axe.run()")["violations"]
            assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == [], name

    def press(self, words: str) -> None:
        """Press the button or the link that is called so."""
        self.page.locator("button, a.button, a").filter(has_text=words).first.click()

    def at_the_end(self) -> None:
        """Wait until the job on the page is done, and see what it made."""
        self.page.wait_for_selector("text=See the result")
        self.press("See the result")
        self.page.wait_for_load_state()


@pytest.fixture(params=["wide-light", "narrow-dark"])
def seen(
    request: pytest.FixtureRequest, browser: Any, tmp_path: Path, child_env: dict[str, str]
) -> Iterator[tuple[Seen, Path]]:
    wide = request.param == "wide-light"
    command = [sys.executable, "-m", "regraft", "ui", "work", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=child_env, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        address = server.stderr.readline().split()[-1]
        window = {"width": 1280, "height": 900} if wide else {"width": 390, "height": 844}
        context = browser.new_context(
            viewport=window, color_scheme="light" if wide else "dark", bypass_csp=True, has_touch=not wide
        )
        try:
            yield Seen(context.new_page(), address, request.param), tmp_path / "work"
        finally:
            context.close()
            server.terminate()
            for pid in (tmp_path / "work").glob("queue/*/pid"):  # jobs outlive the server
                if not pid.with_name("code").exists():
                    os.kill(int(pid.read_text()), signal.SIGTERM)


def test_from_dropped_images_to_a_served_model(seen: tuple[Seen, Path], images: Path) -> None:
    if not AXE.is_file():
        pytest.skip(f"no axe at {AXE}: make setup-browser, or name it in REGRAFT_AXE")
    one, folder = seen
    page = one.page
    page.goto(one.address)
    one.look("empty")
    page.set_input_files("#folder", images)
    page.wait_for_selector("text=36 files to add")
    one.look("collected")
    one.press("Add these data")
    page.wait_for_url("**/data/kinds")
    one.look("data")
    one.press("Audit these data")
    page.wait_for_url("**/jobs/*")
    one.at_the_end()
    one.look("audit")

    page.goto(f"{one.base}/data/kinds")
    one.look("audited")
    page.select_option("select[name=strategy]", "full")
    fit = page.locator("form:has(select[name=strategy])")
    fit.locator("input[name=backbone]").fill(TINY)
    fit.locator("summary").click()
    fit.locator("textarea").fill(
        "input_px=32\nthreads=1\nfolds=2\nmax_repeats=1\noptions.epochs=40\noptions.min_steps=0\noptions.batch=4"
    )
    fit.locator("button").click()
    page.wait_for_url("**/jobs/*")
    job = page.url
    page.wait_for_selector("svg.chart")
    one.look("training")
    one.press("Stop")
    page.wait_for_selector("button:text-is('Resume')")
    assert (folder / "runs/kinds-full/begun.json").is_file()
    one.look("stopped")
    one.press("Resume")
    page.wait_for_selector("button:text-is('Stop'), button:text-is('Remove from the queue')")
    assert page.url == job
    one.at_the_end()
    one.look("run")

    page.goto(f"{one.base}/data/kinds")
    fit.locator("input[name=backbone]").fill(TINY)
    fit.locator("summary").click()
    fit.locator("textarea").fill("input_px=32\nthreads=1\nfolds=2\nmax_repeats=1")
    fit.locator("button").click()
    page.wait_for_url("**/jobs/*")
    one.at_the_end()
    file = sorted(images.rglob("*.png"))[0]
    page.set_input_files("#tried", file)
    page.wait_for_selector("#said h3")
    assert file.name in page.inner_text("#said")
    one.look("tried")
    one.press("Use the camera")
    one.press("Take a picture")
    page.wait_for_selector("#said h3:text-is('camera.png')")
    one.look("camera")
    one.press("Switch the camera off")
    assert page.locator("#seen").is_hidden()
    one.press("Compare")
    page.wait_for_url("**/compare*")
    one.look("compared")
    page.goto(f"{one.base}/runs/kinds-probe/mistakes")
    one.look("mistakes")

    page.goto(f"{one.base}/runs/kinds-probe")
    one.press("Export to onnx")
    page.wait_for_url("**/jobs/*")
    one.at_the_end()
    one.look("export")
    page.goto(f"{one.base}/runs/kinds-probe")
    one.press("Serve it over HTTP")
    page.wait_for_selector("text=Predictions are served at")
    one.look("served")
    served = urlsplit(page.get_attribute("#served", "href") or "")
    body, kind = form({file.name: file.read_bytes()})
    connection = http.client.HTTPConnection(served.hostname or "", served.port)
    connection.request("POST", "/v1/models/model/predict", body, {"Content-Type": kind})
    assert connection.getresponse().status == 200
    connection.close()
    one.press("Stop")
    page.wait_for_selector("button:text-is('Restart')")
    page.goto(f"{one.base}/")
    one.look("home")


def test_a_clean_split_an_advice_and_a_sweep_are_jobs_with_results(seen: tuple[Seen, Path], images: Path) -> None:
    one, folder = seen
    page = one.page
    shutil.copytree(images, folder / "data/kinds")
    quick = f"backbone={TINY}\ninput_px=32\nthreads=1\nfolds=2\nmax_repeats=1"

    def asked(field: str, **given: str) -> None:
        page.goto(f"{one.base}/data/kinds")
        form = page.locator(f"form:has(input[name={field}])")
        form.locator("summary").click()
        for name, value in given.items():
            form.locator(f"[name={name}]").fill(value)
        form.locator("button").click()
        page.wait_for_url("**/jobs/*")

    page.goto(one.address)
    one.press("kinds")
    one.press("Audit these data")
    page.wait_for_url("**/jobs/*")
    one.at_the_end()
    page.goto(f"{one.base}/data/kinds")
    one.press("Fix the split")
    page.wait_for_selector("text=Use the clean split")
    one.look("mended")
    one.press("Use the clean split")
    page.wait_for_url("**/data/kinds-clean.csv")
    one.look("clean")

    asked("budget", backbones=TINY, strategies="probe", budget="90s", settings=quick)
    one.at_the_end()
    one.look("advice")
    assert page.locator(f"button:text-is('Fit {TINY} probe')").count() == 1

    asked("seeds", backbones=TINY, strategies="probe", seeds="2", settings=quick)
    one.at_the_end()
    one.look("sweep")


def test_a_clip_from_the_microphone_is_tried(seen: tuple[Seen, Path], child_env: dict[str, str]) -> None:
    pytest.importorskip("soundfile", reason="the extra `sound` is not installed")
    one, folder = seen
    for label, hertz in (("low", 300.0), ("high", 2400.0)):
        (folder / "clips" / label).mkdir(parents=True)
        for at in range(8):
            samples = tones(8000, 0.5, (hertz + 10 * at,))
            (folder / "clips" / label / f"{at}.wav").write_bytes(wav(samples, 8000))
    settings = ("--backbone", TINY, "--set", "input_px=64", "--set", "threads=1", "--out", folder / "runs/clips")
    command = [sys.executable, "-m", "regraft", "fit", folder / "clips", *settings]
    subprocess.run(command, env=child_env, check=True, capture_output=True)
    one.page.goto(one.address)
    one.page.goto(f"{one.base}/runs/clips")
    one.press("Use the microphone")
    one.look("microphone")
    one.page.wait_for_timeout(700)
    one.press("Stop and predict")
    one.page.wait_for_selector("#said h3:text-is('microphone.wav')")
    assert one.page.inner_text("#said .verdict") in ("low", "high")
    one.press("Use the microphone")
    one.press("Switch the microphone off")
    one.page.wait_for_timeout(300)
    assert one.page.inner_text("#said").startswith("Recording"), "what was thrown away is not predicted"


def test_reports_as_files_are_whole_on_a_phone_and_in_the_dark(browser: Any, tmp_path: Path) -> None:
    write_all(tmp_path)
    write_pages(sample_report(), tmp_path / "runs" / "sample")
    for name, width, scheme in (("wide-light", 1280, "light"), ("narrow-dark", 390, "dark")):
        context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
        one = Seen(context.new_page(), "", name)
        for kind in ("runs", "audits", "advice", "sweeps"):
            one.page.goto((tmp_path / kind / "sample" / "report.html").as_uri())
            one.look(f"file-{kind}")
        context.close()
