"""What is drawn is what was given: the numbers behind the marks, held against scikit-learn and librosa."""

import matplotlib

matplotlib.use("agg")

import importlib.util
import itertools
import json
import re
from pathlib import Path
from types import SimpleNamespace

import librosa
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb, to_rgba
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

from benchmarks.figures import plot_roofline, plot_spreads
from companion import experiments, figures, labels, text
from serlib import config, records
from serlib.data import features
from studies import variants
from tests.helpers import failures

SETTINGS = config.Features()
_spec = importlib.util.spec_from_file_location("light_pages", Path(__file__).parents[1] / "book/_ext/light_pages.py")
light_pages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(light_pages)


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def luminance(colour) -> float:
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


DRAWN = [*figures.COLOURS.values(), *figures.CORPORA, *figures.PALETTE]


def test_every_colour_serves_for_text_on_white():
    """WCAG 2.2, success criterion 1.4.3."""
    assert [colour for colour in DRAWN if not 1.05 / (luminance(colour) + 0.05) >= 4.5] == []


def serves_on_a_dark_page(colour: str) -> None:
    dark = re.fullmatch(
        rf"light-dark\({colour.lower()}, (#[0-9a-f]{{6}})\)", light_pages.either(re.match(light_pages.COLOUR, colour))
    )[1]
    assert (luminance(dark) + 0.05) / (luminance("#121212") + 0.05) >= 4.5


def test_every_colour_serves_for_text_on_a_dark_page():
    assert failures(serves_on_a_dark_page, [*DRAWN, "#262626"]) == {}


def test_a_figure_in_a_page_keeps_its_words_and_shares_no_name(ax, tmp_path):
    figures.style()
    ax.imshow(np.eye(20), rasterized=True)
    ax.set_title("a <title>")
    ax.figure.savefig(tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text()
    first, second = (light_pages.figure(drawn, "what it shows", number) for number in (1, 2))
    assert '<svg fill="light-dark(#000, #fff)" role="img" aria-label="what it shows"' in first
    assert "a &lt;title&gt;</text>" in first
    assert re.search(r'(?s)<svg [^>]*>\s*<g aria-hidden="true">.*</g></svg></div>$', first)  # the label says it all
    assert "data:image/webp;base64," in first
    assert (first.count("<g>"), first.count("<g ")) == (0, first.count("</g>"))
    nested = '<g>\n<g opacity="0.5">\n<g>\n<path/>\n</g>\n</g>\n<g>\n</g>\n</g>\n'
    assert light_pages.ungrouped(nested) == '<g opacity="0.5">\n<path/>\n</g>\n'
    for left_out in ("DejaVu", '<g id="'):  # the page sets the font, and nothing refers to a group
        assert left_out in drawn
        assert left_out not in first
    assert not re.search(r"(?<!light-dark\()(?<!, )#[0-9a-f]{6}\b", first)
    names = [set(re.findall(r'\bid="([^"]+)"', one)) for one in (first, second)]
    assert names[0]
    assert not names[0] & names[1]
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', first)) <= names[0]


@pytest.mark.parametrize(("inches", "scrolls"), [(4.9, False), (7, True)])
def test_a_figure_is_never_narrower_than_its_words_allow(inches, scrolls, tmp_path):
    figures.style()
    fig = plt.figure(figsize=(inches, 2))
    fig.text(0.1, 0.5, "small", fontsize=9)
    fig.savefig(tmp_path / "a.svg")
    plt.close(fig)
    shown = light_pages.figure((tmp_path / "a.svg").read_text(), "what it shows", 1)
    least = int(re.search(r"min-width: (\d+)px", shown)[1])
    assert least / (72 * inches) * 9 == pytest.approx(light_pages.SMALLEST, abs=0.05)
    assert ('class="frame wide" tabindex="0"' in shown) == scrolls


def test_answer_and_picture_of_a_notebook_come_first_the_picture_numbered(tmp_path):
    about = {"name": "here", "caption": "What it is.", "alt": "What it shows.", "data": "share\n0.5\n"}
    drawn = {"output_type": "display_data", "data": {"image/svg+xml": "<svg/>"}, "metadata": {"picture": about}}
    below = {
        "output_type": "display_data",
        "data": {"text/markdown": "**What it is.**"},
        "metadata": {"caption": "here"},
    }
    printed = {"output_type": "stream", "name": "stdout", "text": "1"}
    answer = {"output_type": "display_data", "data": {"text/markdown": ["> **Answer.** Two.\n"]}, "metadata": {}}
    cells = [
        {"cell_type": "markdown", "source": "# Title", "metadata": {}},
        {"cell_type": "code", "source": "x = 1", "metadata": {"tags": ["parameters"]}, "outputs": []},
        {"cell_type": "code", "source": "count()", "metadata": {}, "outputs": [printed, answer]},
        {"cell_type": "code", "source": "draw()", "metadata": {}, "outputs": [printed, drawn, below]},
        {"cell_type": "markdown", "source": "more", "metadata": {}},
    ]
    app = SimpleNamespace(env=SimpleNamespace(doc2path=lambda page: f"{page}.ipynb"), outdir=tmp_path)
    source = [json.dumps({"cells": cells})]
    light_pages.captioned(app, "notebooks/a", source)
    title, said, count, picture, parameters, code, more = json.loads(source[0])["cells"]
    sources = [cell["source"] for cell in (title, count, parameters, code, more)]
    assert sources == ["# Title", "count()", "x = 1", "draw()", "more"]
    assert (count["outputs"], said["outputs"], said["metadata"]) == ([printed], [answer], {"tags": ["remove-input"]})
    assert (code["outputs"], picture["outputs"]) == ([printed], [drawn | {"metadata": {}}])
    links = (
        '<a href="../data/pictures/here.csv" download>Data (CSV)</a> · '
        '<a href="../_sources/notebooks/a.ipynb" download>Notebook</a>'
    )
    looks = {"image": {"alt": "What it shows."}, "figure": {"caption": f"What it is. {links}", "name": "here"}}
    assert (tmp_path / "data/pictures/here.csv").read_text() == "share\n0.5\n"
    assert picture["metadata"] == {"tags": ["remove-input"], "mystnb": looks}
    text_page = ["# Title"]
    light_pages.captioned(SimpleNamespace(env=SimpleNamespace(doc2path=lambda page: f"{page}.md")), "a", text_page)
    assert text_page == ["# Title"]


def test_what_computes_in_the_browser_stands_where_the_networks_are(tmp_path):
    """Before the page's parameters; without networks (``make read``) the notebook's own words stay."""
    live = {"cell_type": "markdown", "source": "words", "metadata": {"tags": ["live"]}}
    given = {"cell_type": "code", "source": "x = 1", "metadata": {"tags": ["parameters"]}, "outputs": []}
    env = SimpleNamespace(doc2path=lambda page: f"{page}.ipynb")
    app = SimpleNamespace(env=env, outdir=tmp_path, srcdir=tmp_path)
    start = tmp_path / "try/static/try/start.js"
    for there, expected in ((False, "words"), (True, light_pages.LIVE)):
        if there:
            start.parent.mkdir(parents=True)
            start.touch()
        source = [json.dumps({"cells": [given, live]})]
        light_pages.captioned(app, "notebooks/a", source)
        assert [cell["source"] for cell in json.loads(source[0])["cells"]] == [expected, "x = 1"]


def test_every_run_and_baseline_has_a_name_of_its_own():
    known = [run for run in variants.NAMES if "+" not in run]
    names = [text.display_name(run) for run in known]
    assert {*labels.DISPLAY_NAMES} == {*known, *experiments.GONE_RUNS}
    assert len(set(names)) == len(names)


def test_a_confusion_matrix_shows_recall_and_counts(ax):
    rng = np.random.default_rng(0)
    true, predicted = rng.choice(3, 2_000, p=(0.7, 0.2, 0.1)), rng.choice(3, 2_000, p=(0.8, 0.15, 0.05))
    cells, classes = confusion_matrix(true, predicted), ["a", "b", "c"]
    figures.plot_confusion(pd.DataFrame(cells, classes, classes), ax, "ours")
    shown = [word.get_text() for word in ax.texts]
    shares = 100 * confusion_matrix(true, predicted, normalize="true")
    assert shown == [f"{share:.0f}\n({n:,})" for share, n in zip(shares.flat, cells.flat, strict=True)]
    assert any("," in word for word in shown)
    assert np.asarray(ax.collections[0].get_array()) == pytest.approx(shares)
    accuracy, recall = accuracy_score(true, predicted), recall_score(true, predicted, average="macro")
    assert ax.get_title() == f"ours\naccuracy {100 * accuracy:.1f} %, mean recall {100 * recall:.1f} %"
    assert [label.get_text() for label in ax.get_yticklabels()] == classes
    assert ax.figure.axes[1].get_ylabel() == "recall (%)"


def test_a_class_without_utterances_is_left_blank_and_does_not_count(ax):
    counts = pd.DataFrame([[5, 1, 0], [0, 0, 0], [2, 0, 2]], list("abc"), list("abc"))
    figures.plot_confusion(counts, ax)
    assert [word.get_text() for word in ax.texts if word.get_text()] == ["83\n(5)", "17\n(1)", "50\n(2)", "50\n(2)"]
    assert ax.get_title() == "accuracy 70.0 %, mean recall 66.7 %"


def test_confusion_matrices_have_one_order_of_classes(ax):
    with pytest.raises(ValueError, match="one order"):
        figures.plot_confusion(pd.DataFrame([[1, 0], [0, 1]], ["a", "b"], ["b", "a"]), ax)


def test_counts_are_readable_on_every_shade():
    assert min((luminance(figures.RECALL(share)) + 0.05) / 0.05 for share in np.linspace(0, 1, 101)) >= 4.5


@pytest.mark.parametrize("width", [128, 1001])
@pytest.mark.parametrize("frequency", [312.5, 1_000.0, 5_000.0])
def test_a_tone_is_drawn_at_its_frequency_and_its_time(ax, frequency, width):
    """A tone from 2 s to 3 s: the loud cells lie around its frequency and its seconds on the axes."""
    settings = config.Features(image_size=(128, width))
    at = torch.arange(4 * settings.sample_rate) / settings.sample_rate
    tone = torch.sin(2 * torch.pi * frequency * at) * ((at >= 2) & (at < 3))
    image = features.image(tone, settings)[0].numpy()
    figures.plot_spectrogram(image, ax, settings=settings)
    mesh = ax.collections[0]
    level, corners = mesh.get_array(), mesh.get_coordinates()
    band, _ = np.unravel_index(level.argmax(), level.shape)
    assert corners[band - 1, 0, 1] <= frequency <= corners[band + 2, 0, 1]  # to one band: a bin of the FFT is as wide
    loud = np.flatnonzero(level[band] > -6)
    column = settings.seconds / width
    assert corners[0, loud[0], 0] == pytest.approx(2, abs=max(column, 0.02))
    assert corners[0, loud[-1] + 1, 0] == pytest.approx(3, abs=max(column, 0.02))


def test_the_axes_of_a_spectrogram_are_librosas(ax):
    """Bands stand at the peaks of librosa's own filters, columns at the times of librosa's own frames."""
    settings = config.Features(image_size=(128, 1001))
    filters = librosa.filters.mel(sr=16_000, n_fft=2**16, n_mels=128, fmin=0, fmax=8_000)
    peaks = filters.argmax(axis=1) * 16_000 / 2**16
    assert figures.band_frequencies(settings) == pytest.approx(peaks, abs=0.2)
    frames = librosa.frames_to_time(np.arange(1001), sr=16_000, hop_length=160)
    assert figures.column_times(1001, settings) == pytest.approx(frames)
    columns = (
        frames @ features.interpolation(SETTINGS).double().numpy()
    )  # frames of a pixel are averaged, so are their times
    assert figures.column_times(128, SETTINGS)[2:-2] == pytest.approx(columns[2:-2], abs=2e-4)
    figures.plot_spectrogram(np.random.default_rng(0).uniform(size=(128, 128)), ax)
    assert ax.get_ylim() == (0, 8_000)
    assert ax.get_xlim() == pytest.approx((0, 10), abs=0.02)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (s)", "frequency (Hz)")
    ax.figure.canvas.draw()
    for axis in (ax.xaxis, ax.yaxis):
        labels = {
            float(tick.get_text()): place
            for tick, place in zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True)
        }
        assert len(labels) >= 4
        assert all(label == pytest.approx(place) for label, place in labels.items())


def test_a_spectrogram_is_in_decibels_and_ends_with_the_speech(ax):
    image = np.zeros((128, 128))
    image[:, :20] = np.linspace(1, 0.5, 128)[:, None]  # the top row, the highest band, is the loudest
    assert figures.is_speech(image).sum() == 20
    figures.plot_spectrogram(image, ax)
    level = ax.collections[0].get_array()
    assert level.shape == (128, 20)
    assert (level[-1, 0], level[0, 0]) == pytest.approx((0, -40))
    assert ax.get_xlim()[1] == pytest.approx(20 / 12.8, abs=0.01)
    assert ax.figure.axes[1].get_ylabel() == "level (dB)"
    assert figures.is_speech(np.full((4, 6), 0.5)).all()  # nothing but padding, or nothing of it: all is shown


def test_attention_lies_on_its_image_and_is_clear_where_it_is_least(ax):
    image, attention = np.zeros((128, 128)), np.zeros((128, 128))
    attention[:, :8] = np.arange(8)
    attention[:, 100] = 50  # not shown
    figures.plot_attention(image, attention, ax, columns=8)
    below, above = ax.collections
    assert np.array_equal(below.get_coordinates(), above.get_coordinates())
    assert np.asarray(above.get_array())[0] == pytest.approx(np.arange(8) / 7)
    assert np.asarray(above.get_alpha())[0] == pytest.approx(0.85 * np.arange(8) / 7)


def test_similarities_are_drawn_as_they_are(ax):
    similarity = np.random.default_rng(0).uniform(-1, 1, (128, 128))
    figures.plot_similarity(similarity, ax, "teacher")
    assert np.array_equal(ax.collections[0].get_array(), similarity)
    assert ax.collections[0].get_clim() == (-1, 1)


@pytest.fixture(scope="module")
def record() -> records.Record:
    path = next((Path(__file__).parents[1] / "results/recordings").rglob("student-pooled-seed0.json"))
    return records.read(path)


def test_curves_are_the_records(ax, record):
    figures.plot_curves(record.curves["transfer"], ax, figures.COLOURS["student"])
    drawn = [line.get_xydata().tolist() for line in ax.lines if len(line.get_xdata())]
    losses = record.curves["transfer"].values()
    assert drawn == [[[epoch, value] for epoch, value in enumerate(values, 1)] for values in losses]
    assert [word.get_text() for word in ax.get_legend().get_texts()] == list(record.curves["transfer"])
    assert ax.get_ylim()[0] == 0
    assert len({line.get_linestyle() for line in ax.lines}) == len(losses)


INTERVALS = pd.DataFrame(
    [
        ("one", "test", 0.5, 0.4, 0.7),
        ("one", "training", 1.0, 1.0, 1.0),
        ("two", "training", 0.9, 0.8, 0.95),
        ("three", "test", 0.3, np.nan, np.nan),
    ],
    columns=["run", "part", "estimate", "low", "high"],
)


@pytest.mark.parametrize("across", [True, False])
def test_an_interval_is_drawn_as_given_and_through_its_dot(ax, across):
    figures.plot_intervals(INTERVALS, ax, hue="part", joined=not across, **{"y" if across else "x": "run"})
    at = 0 if across else 1
    dots, bars = [], []
    for line, lines in zip((line for line in ax.lines if len(line.get_xdata())), ax.collections, strict=True):
        dots += [tuple(dot[[at, 1 - at]]) for dot in line.get_xydata() if np.isfinite(dot).all()]
        bars += [(*end[:, at], end[0, 1 - at]) for end in lines.get_segments() if len(end)]
    places = [place for _, place in dots]
    assert [value for value, _ in dots] == [0.5, 0.3, 1, 0.9]
    assert [round(place) for place in places] == [0, 2, 0, 1]  # rows in their table's order
    assert bars == [(0.4, 0.7, places[0]), (1, 1, places[2]), (0.8, 0.95, places[3])]  # none where none is given
    assert places[0] < 0 < places[2]  # side by side
    axis = ax.yaxis if across else ax.xaxis
    assert [label.get_text() for label in axis.get_ticklabels()] == ["one", "two", "three"]
    value = ax.xaxis if across else ax.yaxis
    assert value.get_major_formatter()(0.5) == "50"


def test_dots_without_a_hue_stand_on_their_line(ax):
    figures.plot_intervals(INTERVALS[INTERVALS.part == "test"], ax, y="run", percent=False)
    assert ax.lines[0].get_xydata().tolist() == [[0.5, 0], [0.3, 1]]
    assert ax.collections[0].get_segments()[0][:, 0].tolist() == [0.4, 0.7]


def test_networks_stand_by_their_cost_and_what_was_not_measured_here_is_hollow():
    rows = [
        ("Teacher", 2.6e9, 40.0, 0.97, None, None, "published by the paper"),
        ("Student", 5.3e8, None, 0.60, 0.5, 0.75, "measured here"),
        ("Teacher", 2.6e9, 40.0, 0.61, 0.5, 0.75, "measured here"),
        ("openSMILE", None, 200.0, 0.78, 0.7, 0.8, "measured here"),
    ]
    table = pd.DataFrame(rows, columns=["what", "flops", "milliseconds", "estimate", "low", "high", "corpus"])
    figure, (cost, time, accuracy) = plt.subplots(1, 3)
    figures.plot_cost(table, cost, time, accuracy)
    assert [label.get_text() for label in cost.get_yticklabels()] == ["Student", "Teacher", "openSMILE"]
    for panel, place in ((cost, 2), (time, 0)):
        assert [(word.get_text(), word.xy[1]) for word in panel.texts] == [("unknown", place)]
    assert [(x, y) for x, y in time.lines[0].get_xydata().tolist() if x == x] == [(40, 1), (40, 1), (200, 2)]
    drawn = [line for line in accuracy.lines if len(line.get_xdata())]
    filled = {line.get_markerfacecolor() != "none": line.get_xydata().tolist() for line in drawn}
    assert [(x, round(y)) for x, y in filled[True]] == [(60, 0), (61, 1), (78, 2)]
    assert [(x, round(y)) for x, y in filled[False]] == [(97, 1)]
    assert cost.get_ylim() == time.get_ylim() == accuracy.get_ylim()
    plt.close(figure)


def test_a_point_of_a_figure_leads_to_its_row(ax, tmp_path):
    figures.style()
    dots = pd.DataFrame([("EmoDB", "a", 0.5, 0.4, 0.6)], columns=["corpus", "what", "estimate", "low", "high"])
    figures.plot_ladder(dots.assign(url="x.html?rows=a%20b#!A%3A%20%2250%20%25%22"), ax)
    ax.figure.savefig(tmp_path / "a.svg")
    shown = light_pages.figure((tmp_path / "a.svg").read_text(), "what it shows", 1)
    assert '<a href="x.html?rows=a%20b" aria-label="A: &quot;50 %&quot;"><title>A: &quot;50 %&quot;</title>' in shown
    assert 'role="group" aria-label="what it shows"' in shown
    assert 'aria-hidden="true"' not in shown  # what is hidden cannot be reached


def test_boxes_say_what_they_are_given(ax):
    figures.plot_boxes([("image", "1 x 128 x 128"), ("head", "7")], ax, role="teacher")
    assert [word.get_text() for word in ax.texts if word.get_text()] == ["image", "1 x 128 x 128", "head", "7"]
    assert ax.patches[0].get_facecolor()[:3] == to_rgb(figures.COLOURS["teacher"])


@pytest.mark.parametrize("joined", [True, False])
def test_spreads_show_every_median_and_its_range(ax, joined):
    series = {"a": {1: {"min": 1.0, "median": 2.0, "max": 4.0}, 8: {"min": 5.0, "median": 6.0, "max": 7.0}}}
    plot_spreads(series, ax, "size", "speed", joined)
    assert (ax.lines[0].get_linestyle(), ax.lines[0].get_marker()) == ("-" if joined else "None", "o")
    assert to_rgba(ax.lines[0].get_color())[3] == 1
    assert ax.lines[0].get_xydata().tolist() == [[1, 2], [8, 6]]
    assert [bar.tolist() for bar in ax.collections[0].get_segments()] == [[[1, 1], [1, 4]], [[8, 5], [8, 7]]]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_numbers_on_a_wide_axis_do_not_overlap(ax):
    series = {"a": {10**k: dict.fromkeys(("min", "median", "max"), 0.2) for k in range(2, 6)}}
    plot_spreads(series, ax, "size", "speed")
    ax.figure.canvas.draw()
    boxes = [word.get_window_extent() for word in ax.get_xticklabels() if word.get_text()]
    assert not any(box.overlaps(other) for box, other in itertools.pairwise(boxes))


def test_nine_parts_of_a_roofline_look_different(ax):
    figures.style()
    plot_roofline({str(k): (k, k) for k in range(1, 10)}, operations=100e9, bandwidth=10e9, ax=ax)
    assert len({(point.get_color(), point.get_marker()) for point in ax.get_lines()[1:]}) == 9


def test_the_roofline_bends_where_memory_meets_the_cores(ax):
    plot_roofline({"norm": (1.0, 5e9), "product": (100.0, 90e9)}, operations=100e9, bandwidth=10e9, ax=ax)
    limit, *points = ax.get_lines()
    for x, y in limit.get_xydata():
        assert y == pytest.approx(min(100, 10 * x))
    assert [point.get_xydata().tolist() for point in points] == [[[1, 5]], [[100, 90]]]
