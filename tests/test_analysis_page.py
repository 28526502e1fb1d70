"""The page, and what a browser makes of it: Chromium where it is installed, without a network."""

import gc
import json
import re
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from report_runs import DENSE, report_run

import analysis.run_data
from analysis.page import MARK, render
from analysis.run_data import RunData, read_run, read_runs
from dcls.conv import DclsNd
from models.loading import load_model
from training.checkpoints.checkpoint import save_weights

HOSTILE = "<img src=x onerror=alert(1)>&amp;"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """Two seeds, a dense run and one whose name is markup."""
    root = tmp_path_factory.mktemp("runs")
    folders = [report_run(root, f"dcls-seed{seed}", seed=seed) for seed in range(2)]
    folders += [report_run(root, "dense", model=DENSE), report_run(root, HOSTILE, overrides=["schedule.epochs=4"])]
    (folders[2] / "model.safetensors").unlink()
    move_an_element_to_the_border(folders[0])
    file = root / "report.html"
    file.write_text(render(read_runs(folders)))
    return file


def move_an_element_to_the_border(folder: Path) -> None:
    """Of the weakest kernel of the first layer, so that others have smaller drawings."""
    run = read_run(folder, "")
    model = run.load_model()
    layer = next(module for module in model.modules() if isinstance(module, DclsNd))
    with torch.no_grad():
        weakest = layer.kernel().flatten(1).norm(dim=1).argmin()
        layer.positions[0, weakest, 0, 0], layer.positions[1, weakest, 0, 0] = 5.0, -5.0
    save_weights(run.weights, model, run.description)


def test_names_are_text_and_nothing_ends_the_data(page) -> None:
    text = page.read_text()
    assert MARK in text[:4096] and "<img" not in text and "&lt;img src=x onerror=alert(1)&gt;&amp;amp;" in text
    data = json.loads(re.search(r'<script id="report-data" type="application/json">(.*?)</script>', text, re.S)[1])
    assert [run["run"] for run in data["kernels"]] == ["dcls-seed0", "dcls-seed1", HOSTILE]
    assert "The run is not finished" in text


def test_a_page_is_a_few_megabytes(page) -> None:
    assert page.stat().st_size < 10e6


def test_every_figure_has_words_and_numbers(page) -> None:
    text = page.read_text()
    figures = re.findall(r"<figure.*?</figure>", text, re.S)
    assert len(figures) >= 12
    for figure in figures:
        assert "<figcaption><h3" in figure and 'role="img"' in figure and "<table" in figure
        assert 'id="figure-kernel"' in figure or re.search(r'aria-label="[^"]{20,}"', figure)
    assert '<html lang="en">' in text and "<main" in text and "<nav aria-label" in text


def test_a_run_without_anything_is_a_page_too(tmp_path) -> None:
    text = render([RunData(tmp_path, "x")])
    assert "Report of x" in text and 'id="kernel-run"' not in text


def test_there_is_one_model_in_memory_at_a_time(tmp_path, monkeypatch) -> None:
    alive: weakref.WeakSet = weakref.WeakSet()

    def load(file):
        gc.collect()
        assert not alive, "models of other runs"
        model, description = load_model(file)
        alive.add(model)
        return model, description

    monkeypatch.setattr(analysis.run_data, "load_model", load)
    render(read_runs([report_run(tmp_path, name, seed=seed) for seed, name in enumerate("ab")]))
    gc.collect()
    assert not alive


@pytest.fixture(scope="module")
def browser() -> Iterator:
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


def show(browser, page: Path, *, mode: str = "light", width: int = 1280) -> None:
    features = [{"name": "prefers-color-scheme", "value": mode}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    wait = pytest.importorskip("selenium.webdriver.support.wait").WebDriverWait(browser, 60)
    # On a busy machine get() has returned while the page was still being read.
    wait.until(lambda _: browser.execute_script("return document.readyState") == "complete")


def choose(browser, control: str, value: int) -> None:
    """Set a control as a user does, and let the page answer."""
    kind = "input" if control == "kernel-epoch" else "change"
    browser.execute_script(
        "const c = document.getElementById(arguments[0]); c.value = arguments[1]; c.dispatchEvent(new Event(arguments[2]))",
        control,
        value,
        kind,
    )


def drawn_kernel(browser) -> dict:
    return browser.execute_script(
        "const g = document.getElementById('figure-kernel');"
        "return {z: g.data[0].z, x: g.data[3].x, y: g.data[3].y, title: document.getElementById('kernel-title').textContent,"
        " points: [...g.querySelectorAll('.scatterlayer .points path')].map((p) => p.getAttribute('transform')),"
        " rows: [...document.querySelectorAll('#kernel-elements tbody tr')].map((r) => r.textContent),"
        " last: Number(document.getElementById('kernel-epoch').max)}"
    )


def requests(browser) -> list[str]:
    """Addresses that the page has asked for."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


def test_slider_layer_and_channel_change_the_drawing(browser, page) -> None:
    requests(browser)
    show(browser, page)
    end = drawn_kernel(browser)
    assert "elements in model.safetensors" in end["title"]
    assert end["last"] == 4 and len(end["points"]) == len(end["rows"]) == 4

    choose(browser, "kernel-epoch", 0)
    start = drawn_kernel(browser)
    assert "before training" in start["title"] and start["points"] != end["points"] and start["rows"] != end["rows"]
    moved = [last - first for first, last in zip(start["y"], end["y"], strict=True)]
    assert moved == pytest.approx([1.5] * 4, abs=0.03) and start["x"] == end["x"]

    choose(browser, "kernel-channel", 1)
    other = drawn_kernel(browser)
    assert other["z"] != start["z"] and "before training" in other["title"]
    choose(browser, "kernel-layer", 3)
    assert drawn_kernel(browser)["z"] != other["z"] and "stages.2" in drawn_kernel(browser)["title"]
    choose(browser, "kernel-run", 2)
    assert drawn_kernel(browser)["rows"] != other["rows"]

    assert browser.get_log("browser") == []
    assert {address.partition(":")[0] for address in requests(browser)} <= {"file", "data", "blob"}


def ranges(browser) -> list[list[float]]:
    return browser.execute_script(
        "const l = document.getElementById('figure-kernel')._fullLayout; return [l.xaxis.range, l.yaxis.range]"
    )


def test_a_zoom_stays_while_epochs_and_channels_change_and_ends_with_the_layer(browser, page) -> None:
    actions = pytest.importorskip("selenium.webdriver.common.action_chains").ActionChains
    show(browser, page)
    whole, drawing = ranges(browser), browser.find_element("css selector", "#figure-kernel .nsewdrag")
    actions(browser).move_to_element(drawing).click_and_hold().move_by_offset(100, 100).release().perform()
    zoomed = ranges(browser)
    assert zoomed != whole
    for control, value in (("kernel-epoch", 1), ("kernel-channel", 1), ("kernel-channel", 7), ("kernel-epoch", 4)):
        choose(browser, control, value)
        assert ranges(browser) == zoomed
    choose(browser, "kernel-layer", 1)
    assert ranges(browser) != zoomed


def test_rings_end_within_the_drawing(browser, page) -> None:
    show(browser, page)
    for channel in (0, 7):  # the last one has an element at the border
        choose(browser, "kernel-channel", channel)
        rings = browser.execute_script(
            "const r = document.getElementById('figure-kernel').data[2];"
            "return [r.x.filter((v) => v !== null), r.y.filter((v) => v !== null)]"
        )
        for values, (first, last) in zip(rings, ranges(browser), strict=True):
            assert min(first, last) < min(values) and max(values) < max(first, last)


def test_a_legend_of_many_runs_leaves_room_for_their_curves(browser, tmp_path) -> None:
    rows = [{"epoch": float(epoch), "train_loss": 2.0 - epoch} for epoch in range(3)]
    runs = [
        RunData(tmp_path / str(at), f"studies/comparison-of-many/a_run_with_a_long_name_{at}", rows) for at in range(20)
    ]
    (tmp_path / "report.html").write_text(render(runs))
    for width in (1280, 320):
        show(browser, tmp_path / "report.html", width=width)
        figure, plot, right, edge = browser.execute_script(
            "const f = document.getElementById('figure-loss'), box = (e) => e.getBoundingClientRect();"
            "const words = [...f.querySelectorAll('.legendtext')].map((t) => box(t).right);"
            "return [box(f).height, box(f.querySelector('.nsewdrag')).height, Math.max(...words), box(f).right]"
        )
        assert plot > 0.4 * figure and right <= edge


def test_every_figure_is_drawn_and_fits_a_phone(browser, page) -> None:
    for width in (1280, 390):
        show(browser, page, width=width)
        empty, wide = browser.execute_script(
            "return [[...document.querySelectorAll('.plot')].filter((p) => !p.querySelector('.main-svg')).map((p) => p.id),"
            " document.documentElement.scrollWidth]"
        )
        assert empty == [] and wide == width


def test_colors_follow_the_setting_also_when_it_changes(browser, page) -> None:
    ask = (
        "return [getComputedStyle(document.body).backgroundColor,"
        " getComputedStyle(document.querySelector('#figure-loss .xtick text')).fill]"
    )
    show(browser, page, mode="light")
    light = browser.execute_script(ask)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    dark = browser.execute_async_script(
        f"const done = arguments[0]; requestAnimationFrame(() => setTimeout(() => done((() => {{{ask}}})()), 300))"
    )
    assert light[0] == "rgb(255, 255, 255)" and dark[0] == "rgb(20, 23, 28)" and light[1] != dark[1]


def test_controls_are_reached_and_moved_by_keyboard(browser, page) -> None:
    keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
    show(browser, page)
    browser.find_element("id", "kernel-layer").send_keys(keys.ARROW_DOWN)
    assert "stages.1" in drawn_kernel(browser)["title"]
    browser.find_element("id", "kernel-epoch").send_keys(keys.ARROW_LEFT)
    assert "after 3 epochs" in drawn_kernel(browser)["title"]
