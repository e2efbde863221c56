"""Processes that work together in; a job that ends with its true reason as soon as one of them cannot go on, out."""
