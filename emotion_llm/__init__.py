"""EAI-LLM: names the emotion that a 3D body movement expresses and explains why.

The code reads in the order the data moves:

motion file -> corpus -> skeleton encoder -> skeleton tokenizer (MGST) -> unified skeleton tokens (UST) -> LLM -> answer
"""
