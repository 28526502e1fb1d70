from finished_runs import finished_run, one_table

from reproduction.plot import plot_table, table_figures


def test_every_baseline_that_was_trained_has_a_panel_at_most_two_beside_each_other(tmp_path) -> None:
    sizes = []
    for setting in ("fashion", "cifar10", "convformer_fashion"):
        finished_run(tmp_path, f"{setting}_dense", 0, 60.0)
        finished_run(tmp_path, f"{setting}_gaussian", 0, 61.0)
        figures = table_figures(one_table(tmp_path, "studies/*"))
        sizes.append([figure.get_size_inches().tolist() for figure in figures.values()])
        titles = [[axes.get_title() for axes in figure.axes] for figure in figures.values()]
    assert titles == [["CIFAR-10", "Fashion-MNIST", "Fashion-MNIST, ConvFormer"]] * 2
    assert sizes == [[[4.8, 3.2]] * 2, [[9.6, 3.2]] * 2, [[9.6, 6.4]] * 2]


def test_a_dot_is_a_seed_a_bar_the_mean_and_a_curve_the_mean_of_the_seeds(tmp_path) -> None:
    for seed, (dense, ours) in enumerate([(60.0, 61.0), (62.0, 64.0)]):
        finished_run(tmp_path, "fashion_dense", seed, dense)
        finished_run(tmp_path, "fashion_gaussian", seed, ours)
    table = one_table(tmp_path, "studies/*")
    (seeds,), (curves,) = (figure.axes for figure in table_figures(table).values())
    assert [label.get_text() for label in seeds.get_xticklabels()] == ["dense", "Gaussian"]
    assert [dots.get_offsets().tolist() for dots in seeds.collections] == [[[0, 60], [0, 62]], [[1, 61], [1, 64]]]
    assert [bar.get_ydata().tolist() for bar in seeds.lines] == [[61, 61], [62.5, 62.5]]
    assert [line.get_label() for line in curves.lines] == ["dense", "Gaussian"]
    ends = [line.get_ydata()[-2:].tolist() for line in curves.lines]
    assert ends == [[66, 61], [67.5, 62.5]], "the last but one is 5 better"
    plot_table(table, tmp_path)
    assert sorted(file.name for file in tmp_path.glob("*.png")) == ["studies-curves.png", "studies-top1.png"]


def test_rows_of_one_model_without_a_common_baseline_have_a_panel_each(tmp_path) -> None:
    for row, top1 in (("bilinear", 80.0), ("gaussian", 81.0)):
        finished_run(tmp_path, f"finetune/imagenet_convnext_tiny_{row}", 0, top1)
    (seeds, curves) = table_figures(one_table(tmp_path, "finetune/*")).values()
    assert [axes.get_title() for axes in seeds.axes] == ["ImageNet-1k, ConvNeXt-T"] * 2
    assert [axes.collections[0].get_offsets().tolist() for axes in seeds.axes] == [[[0, 80]], [[0, 81]]]
    assert len(curves.axes) == 2
