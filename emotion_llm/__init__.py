"""EAI-LLM: names the emotion that a 3D body movement expresses and explains why.

The code reads in the order the data moves:

motion file -> corpus -> skeleton encoder -> skeleton tokenizer (MGST) -> unified skeleton tokens (UST) -> LLM -> answer

Letters of shapes:
    N samples (motions, windows)          T frames            T' feature frames, ceil(T / 4)
    C channels                            V joints            R rows of a batch: every joint of every motion
    K adjacency subsets                   G channel groups    E emotions
    S skeleton tokens, 1 + V + T'         L LLM positions     A answer tokens
    D width of the LLM or text encoder
"""
