"""Motion files in; corpora on disk, their splits, windows and sampling out."""
