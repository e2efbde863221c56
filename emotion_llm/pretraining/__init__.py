"""Prepared corpora in; a trained skeleton encoder that describes itself out."""
