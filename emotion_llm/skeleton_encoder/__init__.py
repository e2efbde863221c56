"""Canonical positions in; joint features (N, C, T', V), their pooled form and an emotion out.

batch.py      motions of several layouts -> one padded batch
graph.py      a layout's parents -> adjacency subsets
inputs.py     positions -> what the first layer sees
layers.py, norm.py   graph and temporal convolution, batch norm that counts real frames only
encoder.py    batch -> joint features
pooling.py    joint features -> semantic, spatial and temporal features -> logits over emotions
text_alignment.py    emotion words -> frozen text embeddings -> contrastive loss
pretraining.py, pretraining_*.py, splitting.py, held_out.py, torchrun.py   corpora -> a trained encoder
trained.py    a run folder <-> a trained encoder
features.py   corpus -> pooled features of every window, computed once
"""
