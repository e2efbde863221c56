"""The joint graph of a layout.

parents (V,)  ->  adjacency subsets (K, V, V): the joint itself, its child joints (inward), its parent (outward)
"""

from collections.abc import Sequence

import torch
from torch import Tensor

SUBSETS = 3  # K: itself, inward, outward (the partition of the ST-GCN family; our choice)


def adjacency_subsets(parents: Sequence[int]) -> Tensor:
    """`adjacency[k, v, u]`: weight of joint u in the sum for joint v in subset k; every row that has neighbours sums to 1.

    Shape:
        parents (V,), -1 = root  ->  (K, V, V) float32
    """
    joints = len(parents)
    outward = torch.tensor([[float(parent == joint) for joint in range(joints)] for parent in parents])
    inward = outward.T / outward.sum(dim=0).clamp(min=1)[:, None]  # the mean over the children
    return torch.stack([torch.eye(joints), inward, outward])  # (K, V, V)
