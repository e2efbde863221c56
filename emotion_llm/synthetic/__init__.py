"""The demo: synthetic corpora, a small LLM, and all stages at small size."""
