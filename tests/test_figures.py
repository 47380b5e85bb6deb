"""What is drawn is what was given: the numbers behind the marks, not their pixels."""

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from companion import figures
from serlib.metrics import Interval


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_a_confusion_matrix_shows_its_counts(ax):
    counts = np.array([[5, 1, 0], [0, 0, 0], [2, 0, 1234]])
    figures.plot_confusion(counts, ("a", "b", "c"), ax)
    shown = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in ax.texts}
    assert shown == {(0, 0): "5", (0, 1): "1", (2, 0): "2", (2, 2): "1,234"}
    shares = ax.images[0].get_array()
    assert shares[0].tolist() == pytest.approx([5 / 6, 1 / 6, 0])
    assert shares[1].tolist() == [0, 0, 0]  # a class without utterances
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]


def test_published_points_are_hollow_and_measured_ones_carry_their_interval(ax):
    points = [
        figures.Point("teacher", 2.6e9, 0.97, "unknown split", "published by the paper"),
        figures.Point("student", 5.3e8, 0.60, "new speakers", low=0.5, high=0.75),
        figures.Point("student, tokens", 5.3e8, 0.61, "new speakers", low=0.5, high=0.75),
    ]
    figures.plot_cost(points, {"student\n10 s": 5.3e8}, ("new speakers", "known", "unknown split"), ax)
    published, *ours = (container[0] for container in ax.containers)
    assert published.get_markerfacecolor() == "none"
    assert published.get_color() == "C2"
    assert {line.get_markerfacecolor() for line in ours} == {"C0"}
    assert sorted(line.get_xydata()[0].tolist() for line in ours) == [
        pytest.approx(at, rel=0.05) for at in ([0.53, 61], [0.53, 60])
    ]
    low, high = ax.containers[1][2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((50, 75))
    heights = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert heights["student, tokens"] - heights["student"] == pytest.approx(4)  # so that neither hides the other
    assert "student\n10 s" in heights
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "new speakers",
        "unknown split",
        *figures.MARKERS,
    ]


def test_curves_count_epochs_from_one(ax):
    figures.plot_curves({"loss": (3.0, 2.0, 1.5)}, ax)
    assert ax.lines[0].get_xydata().tolist() == [[1, 3], [2, 2], [3, 1.5]]
    assert ax.get_ylim()[0] == 0


def test_attention_is_clear_where_it_is_least(ax):
    looks = np.array([[0.1, 0.2], [0.3, 0.4]])
    figures.plot_attention(np.zeros((2, 2)), looks, ax)
    level, alpha = ax.images[1].get_array(), ax.images[1].get_alpha()
    assert level.min() == alpha.min() == 0
    assert level.max() == 1
    assert np.argmax(level) == 3


def test_time_is_in_seconds_when_they_are_given(ax):
    figures.plot_image(np.zeros((128, 128)), ax, seconds=10.0)
    assert ax.get_xlabel() == "time (s)"
    assert ax.get_xlim() == (0, 10)


def test_split_bars_have_the_shares_as_lengths(ax):
    figures.plot_splits({"random": np.array([1.0, 0.5])}, ("speaker", "sentence"), ax)
    assert [bar.get_width() for container in ax.containers for bar in container] == [100, 50]


def test_boxes_say_what_they_are_given(ax):
    figures.plot_boxes([("image", "1 x 128 x 128"), ("head", "7")], ax)
    assert [text.get_text() for text in ax.texts] == ["image", "1 x 128 x 128", "head", "7"]


def test_spreads_show_every_median_and_its_range(ax):
    series = {"a": {1: {"min": 1.0, "median": 2.0, "max": 4.0}, 8: {"min": 5.0, "median": 6.0, "max": 7.0}}}
    figures.plot_spreads(series, ax, "size", "speed")
    (line,) = [line for line in ax.get_lines() if line.get_linestyle() == "-"]
    assert line.get_xydata().tolist() == [[1, 2], [8, 6]]
    (bars,) = ax.containers[0].lines[2]
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [[1, 4], [5, 7]]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_the_roofline_bends_where_memory_meets_the_cores(ax):
    figures.plot_roofline({"norm": (1.0, 5e9), "product": (100.0, 90e9)}, operations=100e9, bandwidth=10e9, ax=ax)
    limit, *points = ax.get_lines()
    for x, y in limit.get_xydata():
        assert y == pytest.approx(min(100, 10 * x))
    assert [point.get_xydata().tolist() for point in points] == [[[1, 5]], [[100, 90]]]


def test_kinds_of_accuracy_stand_on_their_runs_line(ax):
    half, whole = Interval(0.5, 0.4, 0.7), Interval(1.0, 1.0, 1.0)
    figures.plot_kinds(
        {"one": {"held out": half, "trained on": whole}, "two": {"held out": whole}}, ["held out", "trained on"], ax
    )
    held_out, trained = ax.containers
    assert held_out.lines[0].get_xdata().tolist() == [50, 100]
    assert [round(y) for y in held_out.lines[0].get_ydata()] == [0, 1]
    assert held_out.lines[2][0].get_segments()[0][:, 0].tolist() == pytest.approx([40, 70])
    assert trained.lines[0].get_xdata().tolist() == [100]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "two"]
