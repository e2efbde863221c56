"""A trained run and its held-out motions in; metrics with intervals, baselines, controls and grounding out."""
