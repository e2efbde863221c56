"""Answers as HTML pages that open anywhere: one file per clip, and an index of a folder. The paper has nothing of the kind; this is ours."""
