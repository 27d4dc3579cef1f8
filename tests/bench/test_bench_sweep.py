from flythinker.bench.decode import DecodeSetting
from flythinker.bench.sweep import bench_sweep, draw_sweep


def test_every_point_of_every_axis_is_measured_and_drawn(backbone, tmp_path):
    setting = DecodeSetting(
        str(backbone), str(backbone), 1, "float32", prompt_tokens=8, new_tokens=2, rounds=1
    )
    axes = {
        "prompt tokens": (4, 16),
        "tokens written": (2, 8),
        "texts at a time": (1, 3),
        "Reasoner layers": (1, 2),
    }
    sweep = bench_sweep(setting, axes)
    assert {axis: tuple(p["point"] for p in points) for axis, points in sweep.items()} == axes
    for points in sweep.values():
        assert all(point["flythinker"] > 0 and point["ratio"].value > 0 for point in points)
    draw_sweep(sweep, tmp_path / "sweep.svg")
    assert "texts at a time" in (tmp_path / "sweep.svg").read_text()
