"""Features of a motion in; skeleton tokens of the LLM's width, each at its canonical slot, out."""
