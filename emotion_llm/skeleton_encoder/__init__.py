"""Canonical positions in; joint features (N, C, T', V), their pooled form and logits over emotions out.

batch.py      motions of several layouts -> one padded batch -> input channels
graph.py      parents of a layout -> adjacency subsets
layers.py, norm.py    layers that every encoder can use; batch norm over real frames only
encoder.py    batch -> blocks -> joint features
ctr_gcn.py, st_gcn.py    the encoders: settings and blocks
settings.py   the union of all encoders' settings
pooling.py    joint features -> semantic, spatial and temporal features -> logits over emotions

To add an encoder, write one file like st_gcn.py and add its settings to the union in settings.py.
"""
