"""Prepared corpora in, a trained skeleton encoder out."""
