"""Encoded corpora in; a fine-tuned adapter and projector out, under DeepSpeed."""
