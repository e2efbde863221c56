"""Statements about a movement, and whether the movement bears them out. The paper does not check its explanations; this is ours."""
