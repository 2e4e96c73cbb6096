import base64
import csv
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.image import imread
from scipy.stats import norm

from ae_jax.core.errors import UserError
from ae_jax.report import comparisons, drawing, figures, saving
from ae_jax.report import pages as report
from ae_jax.report.style import class_colors, display_name
from experiments import published


def test_tile_places_every_pixel():
    images = np.arange(5 * 2 * 3).reshape(5, 2, 3) / 100
    picture = figures.tile(images, rows=2, columns=3, pad=1)
    assert picture.shape == (2 * 3 - 1, 3 * 4 - 1)
    for index, image in enumerate(images):
        top, left = 3 * (index // 3), 4 * (index % 3)
        np.testing.assert_allclose(picture[top : top + 2, left : left + 3], image, rtol=1e-6)
    assert (picture[2] == 1).all()
    assert (picture[:, [3, 7]] == 1).all()
    assert (picture[3:, 8:] == 1).all(), "the place without an image is white"


def test_tile_without_padding_and_with_channels():
    colour = np.random.default_rng(0).random((4, 2, 2, 3))
    picture = figures.tile(colour, 2, 2, pad=0)
    np.testing.assert_allclose(picture[2:, :2], colour[2], rtol=1e-6)
    grey = figures.tile(colour[..., :1], 2, 2, pad=0)
    np.testing.assert_allclose(grey, picture[..., 0])


def test_tile_rejects_more_images_than_places():
    with pytest.raises(ValueError, match="5 images do not fit a grid of 2 x 2"):
        figures.tile(np.zeros((5, 2, 2)), 2, 2)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_manifold_coordinates_are_equally_probable(n):
    grid = figures.manifold_coordinates(n).reshape(n, n, 2)
    expected = (np.arange(n) + 0.5) / n
    np.testing.assert_allclose(norm.cdf(grid[0, :, 0]), expected, rtol=1e-12)
    np.testing.assert_allclose(norm.cdf(grid[:, 0, 1]), expected[::-1], rtol=1e-12)
    np.testing.assert_allclose(grid, -grid[::-1, ::-1], atol=1e-12)
    assert (grid[..., 0] == grid[:1, :, 0]).all()
    assert (grid[..., 1] == grid[:, :1, 1]).all()


def test_manifold_ticks_point_at_the_tiles_they_name():
    n, height, width = 5, 4, 2
    brightness = np.linspace(0, 1, n * n)
    images = np.broadcast_to(brightness[:, None, None], (n * n, height, width))
    axes = figures.manifold(images, n).axes[0]
    picture = axes.images[0].get_array()
    codes = figures.manifold_coordinates(n)
    rows = [(float(t.get_text().replace("−", "-")), p) for t, p in _ticks(axes.yaxis)]
    columns = [(float(t.get_text().replace("−", "-")), p) for t, p in _ticks(axes.xaxis)]
    assert len(rows) == len(columns) == 4
    for second, y in rows:
        for first, x in columns:
            named = np.abs(codes - [first, second]).sum(axis=1).argmin()
            assert picture[round(y), round(x)] == pytest.approx(brightness[named])


def _ticks(axis):
    return zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True)


def test_reconstructions_stack_labelled_rows_under_the_originals():
    originals, model, pca = (np.full((3, 4, 4), v) for v in (0.2, 0.4, 0.6))
    axes = figures.reconstructions(originals, {"VAE": model, "PCA": pca}).axes[0]
    picture = axes.images[0].get_array()
    shown = {t.get_text(): picture[round(y), 0] for t, y in _ticks(axes.yaxis)}
    assert shown == pytest.approx({"original": 0.2, "VAE": 0.4, "PCA": 0.6})


def test_image_panels_are_grids_side_by_side():
    images = np.linspace(0, 1, 12 * 16).reshape(12, 4, 4, 1)
    figure = comparisons.image_panels({"left": images, "right": images[:8]}, columns=4)
    shapes = [axes.images[0].get_array().shape for axes in figure.axes]
    assert shapes == [(3 * 5 - 1, 4 * 5 - 1), (2 * 5 - 1, 4 * 5 - 1)]
    assert [axes.get_title() for axes in figure.axes] == ["left", "right"]


def test_prior_sample_panels_are_lettered_and_square():
    images = np.random.default_rng(0).random((100, 3, 3))
    figure = figures.prior_sample_panels({2: images, 20: images})
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels == ["(a) 2-D latent space", "(b) 20-D latent space"]
    np.testing.assert_allclose(
        figure.axes[1].images[0].get_array(), figures.tile(images, 10, 10), rtol=1e-6
    )


def test_images_outside_the_unit_interval_are_clipped():
    axes = figures.image_grid(np.array([[[-1.0, 0.5, 2.0]]]), 1, 1).axes[0]
    assert axes.images[0].get_array().tolist() == [[0.0, 0.5, 1.0]]


def _panels():
    samples = np.geomspace(1e3, 1e6, 31)
    bound = -100 - 1e6 / samples
    ours = figures.Curve("ours, test", samples, bound, "ours_test")
    paper = figures.Curve("AEVB, test", samples, bound - 1, "paper_test")
    return [figures.Panel("3", (ours, paper)), figures.Panel("20", (ours,))]


def test_bound_curves_draw_the_values_on_a_log_axis():
    panels = _panels()
    figure = figures.bound_curves(panels, protocol="MNIST, dynamic binarisation")
    assert figure.get_suptitle() == "MNIST, dynamic binarisation"
    for axes, panel in zip(figure.axes, panels, strict=True):
        assert axes.get_xscale() == "log"
        for line, curve in zip(axes.lines, panel.curves, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), curve.samples)
            np.testing.assert_array_equal(line.get_ydata(), curve.values)
    assert "nats per example" in figure.axes[0].get_ylabel()
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["ours, test", "AEVB, test"]


def test_of_seeds_the_mean_has_a_band_of_one_deviation_also_among_the_numbers():
    samples = np.geomspace(1e3, 1e6, 4)
    bounds = np.array([[-9.0, -7.0, -5.0, -4.0], [-8.0, -7.0, -3.0, -4.5], [-7.0, -7.0, -1.0, -2]])
    ours = figures.Curve("ours, test", samples, bounds, "ours_test")
    figure = figures.bound_curves([figures.Panel("20 dimensions", (ours,))])
    (line,) = figure.axes[0].lines
    np.testing.assert_allclose(line.get_ydata(), bounds.mean(axis=0))
    rows = list(csv.DictReader(io.StringIO(saving.numbers(figure).decode())))
    band = [row for row in rows if row["kind"] == "band"]
    assert {row["series"] for row in band} == {"ours, test"}
    np.testing.assert_allclose([float(row["x"]) for row in band], samples)
    np.testing.assert_allclose([float(row["y"]) for row in band], bounds.mean(axis=0))
    deviations = np.std(bounds, axis=0, ddof=1)
    np.testing.assert_allclose([float(row["y_error"]) for row in band], deviations, atol=1e-12)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["ours, test"]


def test_colour_says_which_method_breadth_whose_and_dashes_which_split():
    samples = np.array([1e4, 1e5, 1e6])
    curves = [
        figures.Curve(f"{role} {method}", samples, samples, role, method)
        for method in (0, 1)
        for role in ("ours_test", "ours_train", "paper_test", "paper_train")
    ]
    figure = figures.bound_curves([figures.Panel("", tuple(curves))])
    looks = {line.get_label(): line for line in figure.axes[0].lines}
    assert len({line.get_color() for line in looks.values()}) == 4
    for method in (0, 1):
        for whose in ("ours", "paper"):
            test, train = (looks[f"{whose}_{split} {method}"] for split in ("test", "train"))
            assert test.get_color() == train.get_color()
            assert (test.get_linestyle(), train.get_linestyle()) == ("-", "--")
            assert test.get_linewidth() > train.get_linewidth()
        ours, paper = (looks[f"{whose}_test {method}"] for whose in ("ours", "paper"))
        assert ours.get_linewidth() < paper.get_linewidth()


@pytest.mark.slow
def test_a_legend_takes_as_few_rows_as_its_names_leave_room_for():
    """Nine names, short and long by turns of two: five columns, where the longest allows three."""
    samples = np.array([1e4, 1e6])
    labels = [f"{'a much longer name' if i % 4 > 1 else 'short'} {i}" for i in range(9)]
    drawn = tuple(figures.Curve(label, samples, samples, "ours_test") for label in labels)
    figure = figures.bound_curves([figures.Panel(str(i), drawn) for i in range(6)])
    saving.png(figure)
    legend = figure.legends[0]
    assert len({round(text.get_window_extent().x0) for text in legend.get_texts()}) == 5
    extent = legend.get_window_extent()
    assert extent.x0 >= 0 and extent.x1 <= figure.bbox.width


def test_bound_limits_ignore_the_transient_and_records_without_a_value():
    samples = np.array([0.0, 1e5, 1e6, 1e7, 1e8])
    values = np.array([-1e9, -101.0, np.nan, -100.5, -100.0])
    curve = figures.Curve("a", samples, values, "ours_train")
    low, high = figures.bound_limits([figures.Panel("", (curve,))])
    assert -101.1 < low < -100.9
    assert -100 < high < -99.9
    low, _ = figures.bound_limits(_panels())
    assert -1000 < low < -500, "the first updates, at -1100, are cut off"


def test_scatter_codes_keeps_points_with_their_class():
    codes = np.arange(12.0).reshape(6, 2)
    labels = np.array([1, 0, 1, 2, 2, 2])
    axes = figures.scatter_codes(codes, labels).axes[0]
    drawn = {c.get_label(): np.asarray(c.get_offsets()) for c in axes.collections}
    assert set(drawn) == {"0", "1", "2"}
    for label, points in drawn.items():
        np.testing.assert_array_equal(points, codes[labels == int(label)])


def test_loss_curves_draw_the_values():
    epochs = np.arange(3)
    axes = figures.loss_curves({"train": (epochs, epochs**2), "test": (epochs, -epochs)}).axes[0]
    assert [line.get_label() for line in axes.lines] == ["train", "test"]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [0, 1, 4])


def test_save_writes_the_formats_and_nothing_else(tmp_path):
    figure = figures.loss_curves({"train": (np.arange(3), np.arange(3))})
    folder = tmp_path / "figures"
    paths = saving.save(figure, folder / "loss_lr0.1", also=("pdf", "svg"))
    names = ["loss_lr0.1.png", "loss_lr0.1.pdf", "loss_lr0.1.svg"]
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert paths[1].read_bytes().startswith(b"%PDF")
    again = saving.save(figure, folder / "loss_lr0.1.png")
    assert [path.suffix for path in again] == [".png", ".pdf", ".csv"]
    assert again[:2] == paths[:2]


def test_pictures_have_no_blank_margins(tmp_path):
    figure = figures.image_grid(np.zeros((6, 8, 8)), 2, 3)
    picture = imread(io.BytesIO(saving.png(figure)))[..., :3]
    dark = np.nonzero((picture < 0.5).any(axis=-1))
    margin = 0.1 * saving.PNG_DPI
    for places, length in zip(dark, picture.shape, strict=False):
        assert places.min() <= margin and length - 1 - places.max() <= margin


def _table(figure):
    lines = saving.numbers(figure).decode().splitlines()
    assert lines[0] == "panel,kind,series,x,y,y_error"
    return list(csv.DictReader(lines))


def test_the_numbers_behind_lines_come_back():
    x, rng = np.arange(1.0, 61.0), np.random.default_rng(0)
    noisy, seeds = rng.normal(size=60), rng.normal(size=(4, 3))
    rows = _table(
        comparisons.curves(
            {
                "sparse_coding": (x, noisy),
                "of seeds": (x[:3], seeds),
                "pca": (x[[0, -1]], np.array([0.5, 0.5])),
            },
            "epoch",
            "loss",
        )
    )

    def values(kind, series, column="y"):
        chosen = [row for row in rows if (row["kind"], row["series"]) == (kind, series)]
        return [float(row[column]) for row in chosen]

    assert values("raw", "sparse coding") == noisy.tolist()
    assert values("line", "sparse coding") == drawing.smoothed(noisy).tolist()
    assert values("line", "of seeds") == pytest.approx(seeds.mean(axis=0))
    assert values("line", "of seeds", "y_error") == pytest.approx(seeds.std(axis=0, ddof=1))
    assert values("line", "PCA") == [0.5, 0.5]
    assert len(rows) == 60 + 60 + 3 + 2


def test_the_numbers_behind_bars_and_points_come_back():
    bars = _table(
        comparisons.bars({"pca": 2.0, "nmf": 1.0}, "error", notes={"pca": "a", "nmf": "b"})
    )
    assert [(row["series"], float(row["y"])) for row in bars] == [("PCA", 2.0), ("NMF", 1.0)]
    codes, labels = np.arange(8.0).reshape(4, 2), np.array([0, 1, 1, 0])
    points = _table(comparisons.scatter_panels({"pca": codes, "code": -codes}, labels))
    found = [(r["panel"], r["series"], float(r["x"]), float(r["y"])) for r in points]
    assert ("PCA", "1", 2.0, 3.0) in found and ("code", "0", -6.0, -7.0) in found
    assert len(found) == 8


def test_a_figure_of_pictures_alone_has_no_numbers(tmp_path):
    figure = figures.image_grid(np.zeros((6, 8, 5)), 2, 3)
    written = saving.save(figure, tmp_path / "grid.png")
    assert [path.suffix for path in written] == [".png", ".pdf"]


def test_smoothing_keeps_lines_and_leaves_curves_without_noise_alone():
    line = np.linspace(3, -2, 80)
    np.testing.assert_allclose(drawing.smoothed(line), line, atol=1e-12)
    noise = np.random.default_rng(0).normal(size=80)
    assert drawing.is_noisy(line + noise)
    assert not drawing.is_noisy(line) and not drawing.is_noisy(noise[:20])


def test_levels_are_dashed_and_named_at_the_line_and_two_points_are_seen():
    ends = np.array([1.0, 10.0])
    lines = {"pca": (ends, np.array([2.0, 2.0])), "code": (ends, np.array([3.0, 1.0]))}
    figure = figures.loss_curves(lines)
    level, line = figure.axes[0].lines
    assert level.get_linestyle() == "--" and line.get_marker() == "o"
    assert [text.get_text() for text in figure.axes[0].texts] == ["PCA"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["code"]


def test_legends_hide_no_data():
    x = np.arange(3)
    figure = figures.loss_curves({f"a rather long label, number {i}": (x, i * x) for i in range(7)})
    saving.png(figure)
    legend = figure.legends[0].get_window_extent()
    assert not legend.overlaps(figure.axes[0].get_window_extent())


def test_ticks_stand_at_the_levels_measured():
    sizes = np.array([1, 2, 50, 784])
    axes = comparisons.curves({"a": (sizes, 1 / sizes)}, "size", "error", log_x=True).axes[0]
    assert axes.get_xticks().tolist() == sizes.tolist()
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "2", "50", "784"]


def test_the_panels_of_bounds_stand_in_two_rows_and_shade_what_was_not_trained():
    samples = np.geomspace(1e4, 1e8, 9)
    paper = figures.Curve("paper", samples, np.log(samples), "paper_test")
    asleep = figures.Curve("wake-sleep", samples, np.log(samples) - 3, "baseline")
    ours = figures.Curve("ours", samples[:5], np.log(samples[:5]), "ours_test")
    panels = [figures.Panel(str(size), (asleep, ours, paper)) for size in range(6)]
    figure = figures.bound_curves(panels)
    assert {axes.get_subplotspec().rowspan.start for axes in figure.axes} == {0, 1}
    axes = figure.axes[0]
    by_label = {line.get_label(): line for line in axes.lines}
    assert by_label["ours"].get_zorder() > by_label["paper"].get_zorder()
    assert by_label["ours"].get_linewidth() < by_label["paper"].get_linewidth()
    (shade,) = axes.patches
    left, right = shade.get_extents().transformed(axes.transData.inverted()).intervalx
    assert (left, right) == pytest.approx((samples[4], 1e8))
    assert [text.get_text() for text in axes.texts] == ["wake-sleep"]


def test_names_are_those_of_the_field():
    names = {
        "sparse_coding": "sparse coding", "kmeans": "k-means", "elbo": "ELBO", "mnist": "MNIST",
        "path/to/file.py:MyModel": "MyModel", "z = 2": "z = 2", "AEVB test": "AEVB test",
        "$z_1$": "$z_1$", "squared_error": "squared error",
    }  # fmt: skip
    assert {name: display_name(name) for name in names} == names
    for count in (1, 10, 40):
        assert len(set(class_colors(count))) == count


def test_a_failed_write_keeps_the_old_file_and_says_why(tmp_path, monkeypatch):
    page = report.write_report(tmp_path / "report.html", "old", "", [])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match="report.html: No space left on device"):
        report.write_report(page, "new", "", [])
    assert "old" in page.read_text()
    assert list(tmp_path.iterdir()) == [page]


class _Page(HTMLParser):
    """Tags with their attributes, and the rows of tables."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.cells, self._open = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag in ("td", "th")

    def handle_endtag(self, tag):
        self._open = False

    def handle_data(self, data):
        if self._open:
            self.cells.append(data)


CLAIM = {
    "name": "bound <at> 1e8",
    "value": np.float32(-100.25),
    "direction": "close to",
    "target": -100.1,
    "tolerance": 0.5,
    "unit": "nats",
    "source": "Kingma & Welling 2014",
    "holds": np.bool_(True),
}


def test_report_is_self_contained_and_escaped(tmp_path):
    png = saving.png(figures.image_grid(np.zeros((1, 8, 8)), 1, 1))
    sections = [
        report.claims_table([CLAIM, CLAIM | {"holds": False}]),
        report.Picture("Curves", png, "a < b"),
        report.Text("Notes", "one\n\n<script>alert(1)</script>"),
        report.environment_table({"jax": "0.10.2", "devices": ["cpu:0"]}),
        report.runs_table([{"seed": 0, "loss": 1.5}, {"seed": 1, "seconds": 3}]),
    ]
    text = report.write_report(tmp_path / "r.html", "A & B", "x <y>", sections).read_text("utf-8")
    page = _Page(text)
    assert "<title>A &amp; B</title>" in text
    assert "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>" in text
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?://|//\w+\.|@import|url\(", text)
    (source,) = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    decoded = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    assert decoded == png
    assert imread(io.BytesIO(decoded)).ndim == 3
    assert page.cells[:8] == list(report.CLAIM_COLUMNS)
    values = ["-100.25", "close to", "-100.1", "0.5", "nats", "Kingma & Welling 2014", "yes"]
    assert page.cells[8:16] == ["bound <at> 1e8", *values]
    assert "1 of 2 hold." in text
    assert page.cells[-9:] == ["seed", "loss", "seconds", "0", "1.5", "–", "1", "–", "3"]
    assert '<td data-name="holds" class="yes">yes</td>' in text
    assert '<td data-name="holds" class="no">no</td>' in text


def test_markdown_table_aligns_numbers_right():
    rows = [{"model": "VAE|2", "bound": -100.25, "samples": 10**8}, {"model": "PCA"}]
    assert report.markdown_table(rows).splitlines() == [
        "| model  |   bound |     samples |",
        "| ------ | ------: | ----------: |",
        "| VAE\\|2 | -100.25 | 100,000,000 |",
        "| PCA    |       – |           – |",
    ]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([-165.0, -150.8, -98.25], ["-165.00", "-150.80", "-98.25"]),
        ([0.01, "", 0.5], ["0.01", "–", "0.50"]),
        ([1, 2.5], ["1.0", "2.5"]),
        ([3, None, 50000, 100000], ["3", "–", "50,000", "100,000"]),
        ([0.123456789, 101.5], ["0.123", "101.500"]),
        ([1e-7, 1.0], ["1e-07", "1"]),  # one number of decimals would hide the one or the other
        ([123456.7, 0.0001], ["123457", "0.0001"]),
        ([-5343240257536.0, -120.5], ["-5.34324e+12", "-120.5"]),
        (["diverged", -120.5], ["diverged", "-120.5"]),
        ([float("-inf"), float("nan"), 1.25], ["diverged", "nan", "1.25"]),
        ([[3, 5], {"a": 1}, ()], ["3, 5", "a: 1", "–"]),
        (["1e+06", "", "5", "18,490", "64 %"], ["1e+06", "–", "5", "18,490", "64 %"]),
    ],
)
def test_numbers_of_a_column_are_alike(values, texts):
    rows = [{"x": value} for value in values]
    table = report.Table("", rows)
    assert [line["x"] for line in table.lines] == texts
    of_numbers = not any(isinstance(value, (list, dict)) for value in values)
    assert (table.numeric == {"x"}) == of_numbers, "gaps change no alignment"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (True, "yes"), (1e-3, "0.001"), (1234567.0, "1.23457e+06"), (2**17, "131,072")]
    + [(np.int64(20), "20"), (float("nan"), "nan"), ([500, 500], "500, 500"), ("a", "a")]
    + [(float("inf"), "diverged"), ((), "–"), ("", "–")],
)
def test_cells_read_as_a_person_writes(value, text):
    assert report.cell(value) == text


def test_a_narrow_screen_stacks_claims_and_says_that_wide_tables_scroll(tmp_path):
    wide = report.runs_table([{f"column {i}": i for i in range(6)}])
    sections = [report.claims_table([CLAIM]), wide]
    text = report.write_report(tmp_path / "r.html", "", "", sections, {"Walk": "a<b.html"})
    text = text.read_text("utf-8")
    assert text.count('class="wide stacked"') == 1
    assert '<td data-name="tolerance" class="number">0.5</td>' in text
    assert text.count("columns: the table scrolls sideways") == 1
    assert '<a href="a&lt;b.html">Walk</a>' in text


def test_published_mnist_curves():
    curves = published.load_curves("mnist")
    methods, splits = ("aevb", "wake_sleep"), ("train", "test")
    assert set(curves) == {(z, m, s) for z in (3, 5, 10, 20, 200) for m in methods for s in splits}
    for curve in curves.values():
        assert np.isfinite(curve).all()
        np.testing.assert_allclose(np.diff(np.log10(curve[:, 0])), 0.05, atol=1e-5)
        assert curve[-1, 0] == 1e8
    twenty = curves[20, "aevb", "test"]
    found = [published.bound_at(twenty, samples) for samples in (1e6, 1e7, 1e8)]
    assert found == pytest.approx([-124.2, -104.8, -100.1], abs=0.1)
    finals = [curves[z, "aevb", "train"][-1, 1] for z in (3, 5, 10, 20, 200)]
    assert finals == pytest.approx([-130.2, -116.4, -100.7, -98.3, -98.5], abs=0.1)


def test_published_frey_face_curves():
    curves = published.load_curves("frey_face")
    assert {z for z, _, _ in curves} == {2, 5, 10, 20}
    assert curves[20, "aevb", "test"][-1, 1] == pytest.approx(1309.4, abs=0.1)


def test_published_curves_of_other_data_are_refused():
    with pytest.raises(UserError, match="valid: frey_face, mnist"):
        published.load_curves("cifar10")
    curve = published.load_curves("mnist")[20, "aevb", "test"]
    with pytest.raises(ValueError, match="outside 100000 to 1e\\+08 samples"):
        published.bound_at(curve, 10.0)
