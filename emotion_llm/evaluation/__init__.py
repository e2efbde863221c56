"""A fine-tuned run and motions in; emotions with probabilities, explanations and metrics out."""
