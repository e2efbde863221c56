"""Skeleton tokens and a question in; the likelihood of an answer, or an answer, out."""
