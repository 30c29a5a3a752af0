"""What every application speaks: a question in, its answer out, worked out beside whoever asks."""

ENDINGS = {  # of the files that results of a class are saved as
    "Attribution": (".json", ".html", ".csv", ".tsv", ".png", ".pdf", ".svg", ".pgf"),
    "Flip": (".json", ".html"),
    "Reduction": (".json", ".html"),
    "Report": (".json", ".html", ".png", ".pdf", ".svg"),
}  # fmt: skip
FIGURES = (".png", ".pdf", ".svg", ".pgf")
