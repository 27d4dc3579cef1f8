"""The report's plots, of scores that leave nothing to draw between."""

from flythinker.reporting.plots import point_curves


def test_equal_scores_are_drawn_although_their_interval_is_rounded_past_the_mean():
    rounded = {"point": "0.5", "value": 0.3, "low": 0.3 + 6e-17, "high": 0.3 - 6e-17}
    assert rounded["low"] > rounded["value"] > rounded["high"]

    svg = point_curves([[rounded]], "fusion weight")

    assert svg.startswith("<svg")
    assert "fusion weight" in svg
