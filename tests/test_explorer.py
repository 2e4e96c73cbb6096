"""The page to walk through the codes of a model: what it is told, and what a browser makes of it.

Chromium is driven by chromedriver; where neither is installed (Debian: chromium, chromium-driver)
the tests in a browser say so and do not run.
"""

import dataclasses
import functools
import shutil
from pathlib import Path

import numpy as np
import pytest

from ae_jax.api import Fitted, configure, fit, prepare
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, Split
from ae_jax.nn import ACTIVATIONS, HEADS
from ae_jax.report import explorer
from ae_jax.report.explorer import Layer, packed, specification, unpacked, write_page
from ae_jax.report.pages import EXPLORER_LINK, Text, link_to_explorer, write_report
from ae_jax.train.rundir import RunDirectory

HOSTILE = "</script><img src=x onerror='window.injected=1'>&amp;"


def untrained(dataset: DataSet, **options) -> Fitted:
    """A network as it starts: what is compared needs no training."""
    setup = prepare(configure(None, {"hidden": [16], "latent_dim": 2, **options}), dataset)
    return Fitted(setup, setup.initial_state().params, 0, [])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("explorer")


@pytest.fixture(scope="module")
def plane(image_set) -> Fitted:
    return untrained(image_set)


@pytest.fixture(scope="module")
def plane_spec(plane) -> dict:
    return specification(plane)


@pytest.fixture(scope="module")
def codecs(image_set):
    """Fits a codec of three atoms by its name, once."""
    return functools.cache(lambda name: fit(image_set, codec=name, latent_dim=3))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One headless Chromium for the tests of this file."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium with chromedriver is installed: pages are not opened")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    started.set_script_timeout(60)
    yield started
    started.quit()


@dataclasses.dataclass
class Opened:
    """A page in the browser; whatever it does, its console stays empty."""

    browser: object

    def run(self, script: str, *arguments):
        """What a script returns, after the page has drawn."""
        value = self.browser.execute_script(script, *arguments)
        self.browser.execute_async_script(
            "const done = arguments[0];"
            "requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 0)));"
        )
        assert self.browser.get_log("browser") == []
        return value

    def decode(self, z: np.ndarray) -> np.ndarray:
        script = "return arguments[0].map((z) => Array.from(explorer.decode(Float32Array.from(z))))"
        return np.array(self.run(script, np.asarray(z).tolist()))

    @property
    def code(self) -> np.ndarray:
        return np.array(self.run("return Array.from(explorer.state.z)"))

    def box(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the plane, after it was scrolled into view."""
        return self.run(
            "const p = document.getElementById('points'); p.scrollIntoView();"
            "const b = p.getBoundingClientRect(); return [b.left, b.top, b.width, b.height];"
        )

    def mouse(self, kind: str, x: float, y: float) -> None:
        event = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1, "buttons": 1}
        self.browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    def click(self, x: float, y: float) -> None:
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y)


@pytest.fixture
def open_page(browser, tmp_path):
    def opened(spec: dict, width: int = 1280, dark: bool = False) -> Opened:
        metrics = {
            "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600,
        }  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        browser.get(write_page(tmp_path / "explorer.html", spec).as_uri())
        page = Opened(browser)
        page.run("return 0")
        return page

    return opened


def test_packed_numbers_keep_eleven_bits_at_any_scale():
    rng = np.random.default_rng(0)
    for scale in (1e-9, 1.0, 1e12):
        values = (scale * rng.normal(size=(3, 5))).astype(np.float32)
        kept = unpacked(packed(values)).reshape(values.shape)
        np.testing.assert_allclose(kept, values, rtol=2**-11, atol=2**-25 * np.abs(values).max())
    assert unpacked(packed(np.zeros(3))).tolist() == [0, 0, 0]
    with pytest.raises(UserError, match="not finite"):
        packed(np.array([np.nan]))


@pytest.mark.slow_cases("vae", "*gelu", "kmeans", "gaussian_global*")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hidden": [12, 9], "model__activation": "gelu"},
        {"hidden": []},
        {"model__head": "gaussian_sigmoid", "model__latent": "sigmoid"},
        {"model__head": "gaussian_global", "model__tied": True, "model__latent": "deterministic"},
        {
            "model__name": "rbm", "model__latent": "sigmoid", "hidden": [],
            "objective__name": "contrastive_divergence", "model__head": "bernoulli",
        },
        {"codec": "pca"},
        {"codec": "kmeans"},
    ],
    ids=lambda options: "-".join(map(str, options.values())) or "vae",
)  # fmt: skip
def test_the_page_decodes_as_the_model_does(image_set, codecs, open_page, options):
    model = codecs(options["codec"]) if "codec" in options else untrained(image_set, **options)
    spec = specification(model)
    assert "layers" in spec["decoder"]
    z = np.random.default_rng(0).normal(size=(6, model.setup.latent_dim))
    z = np.concatenate([z, model.encode(image_set.splits["test"].head(6))])
    expected = model.decode(z, units="model").reshape(len(z), -1)
    np.testing.assert_allclose(open_page(spec).decode(z), expected, atol=1e-2)


@pytest.mark.slow
def test_the_page_knows_every_activation_and_every_head(plane_spec, open_page):
    assert set(explorer.ACTIVATIONS_KNOWN) == set(ACTIVATIONS)
    assert set(explorer.HEADS_KNOWN) <= set(HEADS)
    others = set(HEADS) - set(explorer.HEADS_KNOWN)  # shown as a lattice
    assert not {name for name in others if name.startswith(("bernoulli", "gaussian"))}
    x = np.linspace(-6, 6, 64, dtype=np.float32)
    z = np.ones((1, 2))
    for name in ACTIVATIONS:
        layer = Layer(np.zeros((2, 64), np.float32), x, name)
        described = {"inputs": 2, "outputs": 64, "kernel": packed(layer.kernel)}
        described |= {"bias": packed(layer.bias), "activation": name}
        page = open_page(plane_spec | {"decoder": {"layers": [described]}})
        expected = np.asarray(ACTIVATIONS.get(name)(unpacked(packed(x))))
        np.testing.assert_allclose(page.decode(z)[0], expected, rtol=2e-5, atol=2e-5)


@pytest.mark.slow
def test_a_decoder_of_another_kind_is_shown_by_its_lattice(image_set, open_page):
    convolutions = {"hidden": [4], "model__encoder": "conv", "model__decoder": "conv"}
    model = untrained(image_set, latent_dim=3, **convolutions)
    spec = specification(model)
    lattice, code = spec["decoder"]["lattice"], spec["code"]
    assert "decoder (conv) is not dense layers" in spec["decoder"]["why"]
    page = open_page(spec)
    rows, columns = lattice["rows"], lattice["columns"]
    z = np.tile(np.array(code["center"]), (rows * columns, 1))
    places = np.divmod(np.arange(rows * columns), columns)[::-1]
    for axis, steps in zip(lattice["axes"], places, strict=True):
        low, high = code["low"][axis], code["high"][axis]
        z[:, axis] = low + (steps + 0.5) / columns * (high - low)
    expected = model.decode(z, units="model").reshape(len(z), -1)
    np.testing.assert_allclose(page.decode(z), expected, atol=1 / 255)
    shown = page.run("return document.getElementById('why').textContent")
    assert shown == spec["decoder"]["why"] and "stay at the mean code" in shown


def test_what_the_page_cannot_run_is_refused_with_the_reason(image_set, plane, monkeypatch):
    def reason(model):
        return specification(model)["decoder"]["why"]

    assert "too many for a page" not in str(specification(plane)["decoder"].get("why"))
    with monkeypatch.context() as patch:
        patch.setattr(explorer, "MOST_WEIGHTS", 100)
        assert "its decoder has 1,056 weights, too many for a page" in reason(plane)
    with monkeypatch.context() as patch:
        # A part that is not what its name says is found by its numbers.
        patch.setitem(explorer.HEADS_KNOWN, "bernoulli", "linear")
        assert "differ from it by" in reason(plane)


@pytest.mark.slow
def test_ranges_and_order_of_the_code(image_set, codecs, plane_spec):
    code = plane_spec["code"]
    assert max(code["low"]) <= -3 and min(code["high"]) >= 3 and code["center"] == [0, 0]
    assert np.all(np.diff(np.array(code["importance"])[code["order"]]) <= 0)
    assert plane_spec["prior"] == {"name": "the prior N(0, I)"}
    codec = codecs("pca")
    of_codec = specification(codec)
    variances = codec.encode(image_set.splits["test"]).var(axis=0)
    np.testing.assert_allclose(of_codec["code"]["importance"], variances, rtol=1e-5)
    assert of_codec["code"]["order"] == np.argsort(-variances).tolist()
    assert of_codec["prior"] is None
    mixture = specification(codecs("kmeans"))
    draws = unpacked(mixture["prior"]["codes"]).reshape(-1, 3)
    assert set(np.unique(draws)) == {0, 1}, "draws of a mixture are one-hot"
    assert mixture["code"]["low"] == [0] * 3 and mixture["code"]["high"] == [1] * 3


def test_a_condition_is_appended_to_the_code(plane_spec, open_page):
    rng = np.random.default_rng(0)
    layer = Layer(rng.normal(size=(5, 64)), rng.normal(size=64), "sigmoid")
    described = {"inputs": 5, "outputs": 64, "kernel": packed(layer.kernel)}
    described |= {"bias": packed(layer.bias), "activation": "sigmoid"}
    one_hot = np.eye(3)
    choices = [{"name": f"<b>{i}</b>", "vector": packed(row)} for i, row in enumerate(one_hot)]
    condition = {"name": "label", "choices": choices}
    page = open_page(plane_spec | {"decoder": {"layers": [described]}, "condition": condition})
    assert page.run("return document.querySelectorAll('b').length") == 0
    z = rng.normal(size=(4, 2))
    for index, row in enumerate(one_hot):
        page.run(
            "const s = document.getElementById('condition'); s.value = arguments[0];"
            "s.dispatchEvent(new Event('change'));",
            index,
        )
        inputs = np.concatenate([z, np.tile(row, (4, 1))], axis=1)
        np.testing.assert_allclose(page.decode(z), explorer.run_layers([layer], inputs), atol=1e-3)


def test_a_pointer_moves_the_code_and_two_clicks_make_a_walk(plane_spec, open_page):
    page = open_page(plane_spec)
    left, top, width, height = page.box()
    low, high = (np.array(plane_spec["code"][end]) for end in ("low", "high"))

    def at(z):
        share = (np.asarray(z) - low) / (high - low)
        return left + share[0] * width, top + (1 - share[1]) * height

    page.mouse("mousePressed", *at([2.8, 2.8]))
    page.mouse("mouseMoved", *at([2.5, -2.0]))
    page.mouse("mouseReleased", *at([2.5, -2.0]))
    np.testing.assert_allclose(page.code, [2.5, -2.0], atol=0.03)

    codes = unpacked(plane_spec["examples"]["codes"]).reshape(-1, 2)
    apart = np.argsort(codes[:, 0])[[0, -1]]
    for index in apart:
        page.mouse("mouseMoved", *at(codes[index]))
        assert not page.run("return document.getElementById('tooltip').hidden")
        page.click(*at(codes[index]))
    first, second = page.run("return explorer.state.ends")
    np.testing.assert_allclose(page.code, codes[second], atol=1e-6)
    page.run(
        "const s = document.getElementById('step'); s.value = 25;"
        "s.dispatchEvent(new Event('input'));"
    )
    np.testing.assert_allclose(page.code, 0.75 * codes[first] + 0.25 * codes[second], atol=1e-5)
    assert page.run("return document.getElementById('strip').hidden") is False


@pytest.mark.slow
def test_keys_sliders_buttons_and_touch_reach_all_of_it(plane_spec, open_page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    page = open_page(plane_spec, width=390, dark=True)
    find = page.browser.find_element
    step = (np.array(plane_spec["code"]["high"]) - plane_spec["code"]["low"]) / 50
    points = find(By.ID, "points")
    points.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    np.testing.assert_allclose(page.code, step * [2, -1], atol=1e-5)
    points.send_keys(Keys.ENTER)
    assert len(page.run("return explorer.state.ends")) == 1
    points.send_keys(Keys.ESCAPE)
    assert page.run("return explorer.state.ends") == []

    find(By.CSS_SELECTOR, "#sliders input").send_keys(Keys.HOME)
    first = plane_spec["code"]["order"][0]
    assert page.code[first] == pytest.approx(plane_spec["code"]["low"][first])
    find(By.ID, "prior").click()
    drawn = page.code
    find(By.ID, "prior").click()
    assert (page.code != drawn).all()
    find(By.ID, "reset").click()
    assert page.code.tolist() == [0, 0]

    left, top, width, height = page.box()
    touch = {"type": "touchStart", "touchPoints": [{"x": left + 0.9 * width, "y": top + 5}]}
    page.browser.execute_cdp_cmd("Input.dispatchTouchEvent", touch)
    moved = {"type": "touchMove", "touchPoints": [{"x": left + width, "y": top + height}]}
    page.browser.execute_cdp_cmd("Input.dispatchTouchEvent", moved)
    page.browser.execute_cdp_cmd(
        "Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []}
    )
    corner = [plane_spec["code"]["high"][0], plane_spec["code"]["low"][1]]
    np.testing.assert_allclose(page.code, corner, atol=1e-5)


@pytest.mark.slow_cases("390")
@pytest.mark.parametrize("width", [390, 1280])
def test_vectors_are_charts_and_pages_fit_the_screen(vector_set, plane_spec, open_page, width):
    spec = specification(untrained(vector_set, latent_dim=3))
    for described in (spec, plane_spec):
        page = open_page(described, width)
        assert page.run("return document.documentElement.scrollWidth") == width
        page.run("explorer.choose(1); explorer.choose(2)")
        # Something is drawn: not every pixel of what is decoded is alike.
        script = (
            "const c = document.getElementById('decoded');"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "return new Set(d).size"
        )
        assert page.run(script) > 2


def test_names_are_text_and_nothing_is_loaded(image_set, open_page):
    hostile = dataclasses.replace(image_set, name=HOSTILE)
    spec = specification(untrained(hostile))
    spec["classes"][0]["name"] = HOSTILE
    page = open_page(spec)
    assert page.run("return document.querySelectorAll('img').length") == 0
    assert page.run("return window.injected === undefined")
    assert page.run("return document.title").startswith(HOSTILE)
    assert HOSTILE in page.run("return document.getElementById('classes').textContent")
    assert page.run("return performance.getEntriesByType('resource').length") == 0


@pytest.mark.slow
def test_a_page_of_500_hidden_units_is_small_and_fast(open_page, tmp_path):
    rng = np.random.default_rng(0)

    def digits(count):
        x = (255 * rng.random((count, 28, 28, 1))).astype(np.uint8)
        return Split(x, rng.integers(0, 10, count).astype(np.int32))

    dataset = DataSet("noise", {"train": digits(10), "test": digits(600)}, max_value=255.0)
    spec = specification(untrained(dataset, latent_dim=20, hidden=[500], batch_size=10))
    page = open_page(spec)
    assert (tmp_path / "explorer.html").stat().st_size < 2_000_000
    seconds = page.run(
        "const start = performance.now();"
        "for (let i = 0; i < 30; i++) explorer.decode(explorer.state.z);"
        "return (performance.now() - start) / 1000"
    )
    assert seconds < 1, "30 decodings a second"


@pytest.mark.slow
def test_the_command_writes_the_page_and_the_report_links_to_it(folder, command):
    run = folder / "run"
    assert command("train", "iris", "--codec", "pca", "--latent-dim", 2, "--workdir", run)[0] == 0
    assert command("evaluate", run)[0] == command("report", run)[0] == 0
    assert "explorer.html" not in (run / "report.html").read_text()
    status, output, _ = command("explore", run)
    assert status == 0 and f"explorer: {run / 'explorer.html'}" in output
    report = (run / "report.html").read_text()
    assert '<a href="explorer.html">' in report
    assert command("report", run)[0] == 0
    assert '<a href="explorer.html">' in (run / "report.html").read_text()
    assert "<h2>Evaluated</h2>" in report
    status, _, error = command("explore", folder / "nothing")
    assert status == 2 and "is not a run's directory" in error


def test_a_report_that_was_written_first_links_to_the_page_once(tmp_path):
    directory, sections = RunDirectory(tmp_path), [Text("A section", "Nothing to see.")]
    link_to_explorer(directory)
    assert not directory.report_file.exists()
    write_report(directory.report_file, "A run", "Its summary.", sections)
    before = directory.report_file.read_text()
    write_report(directory.report_file, "A run", "Its summary.", sections, EXPLORER_LINK)
    linked = directory.report_file.read_text()
    assert linked.count('<p><a href="explorer.html">Walk through the codes</a></p>\n') == 1
    write_report(directory.report_file, "A run", "Its summary.", sections)
    for _ in range(2):
        link_to_explorer(directory)
        assert directory.report_file.read_text() == linked != before


def test_draws_of_a_prior_that_looks_at_the_label_are_under_each(image_set):
    options = {"model__condition": "label", "model__prior": "network"}
    model = untrained(image_set, **options, model__into=["prior", "decoder"])
    prior = specification(model)["prior"]
    draws = unpacked(prior["codes"]).reshape(prior["groups"], -1, 2)
    assert prior["groups"] == model.setup.architecture.model.classes > 1
    for label, under in enumerate(draws):
        np.testing.assert_allclose(under, model.draw(len(under), y=label), rtol=1e-3, atol=1e-3)


def test_classes_go_by_their_names(image_set):
    split = image_set.splits["test"]
    count = int(split.y.max()) + 1
    names = tuple(f"kind {i}" for i in range(count))
    named = dataclasses.replace(image_set, classes=names)
    shown = specification(untrained(named))["classes"]
    assert [one["name"] for one in shown] == [names[i] for i in np.unique(split.y)]


def test_dimensions_are_in_order_of_a_kl_to_the_prior_of_the_model_only(image_set):
    model = untrained(image_set, model__prior="normal")
    code = specification(model)["code"]
    assert code["measure"] == "variance" and "KL" not in code["order_text"]
    variances = model.encode(image_set.splits["test"]).var(axis=0)
    np.testing.assert_allclose(code["importance"], variances, rtol=1e-4)
