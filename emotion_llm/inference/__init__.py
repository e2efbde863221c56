"""A trained run and motion in; emotions with probabilities, explanations and attribution out: one clip, many, or a long recording; export."""
