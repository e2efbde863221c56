"""The skeleton encoder against a common CTR-GCN implementation, and encoding once against encoding in every step.

random motions of mixed layouts  ->  Measurements: a training step of the encoder; a fine-tuning step of an LLM
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from emotion_llm.benchmarks.finetuning import packed_step
from emotion_llm.benchmarks.measurement import Measurement, check_gradients, compare
from emotion_llm.benchmarks.workload import SMALL_LLAMA, LlmShape, build_model, draw_examples
from emotion_llm.motion.layout import read_layout
from emotion_llm.skeleton_encoder.batch import MotionBatch, collate, joint_inputs
from emotion_llm.skeleton_encoder.ctr_gcn import CtrGcnSettings, GraphConvolution, TemporalConvolution
from emotion_llm.skeleton_encoder.encoder import SkeletonEncoder
from emotion_llm.skeleton_encoder.graph import SUBSETS
from emotion_llm.skeleton_encoder.layers import Block, Skip
from emotion_llm.skeleton_encoder.norm import EPSILON, MaskedBatchNorm
from emotion_llm.skeleton_encoder.pooling import pool

LAYOUTS = ("kdae_72", "emilya_28", "kinect_v2_25")


def measure(
    settings: CtrGcnSettings | None = None, llm: LlmShape = SMALL_LLAMA, motions: int = 16, frames: int = 64, repeats: int = 5
) -> list[Measurement]:
    """
    Args:
        settings: of the encoder, without movement statistics, which the common implementation does not have; by default the preset's.
    """
    encoder = (settings or CtrGcnSettings(statistics=False)).build([read_layout(name) for name in LAYOUTS])
    for block in blocks_of(encoder):  # zero at the start, which would stop the gradients of the learnt topology
        torch.nn.init.normal_(cast(Tensor, block.graph.strength))
    one, mixed = draw_motions(encoder, (2,), motions, frames), draw_motions(encoder, (0, 1, 2), motions, frames)
    for forward in (encoder_features, baseline_features):
        train_step(encoder, mixed, forward)
        check_gradients(encoder)
        encoder.zero_grad()
    model, examples = build_model(llm), draw_examples(llm, "recognition", motions, seed=0)
    size = sum(parameter.numel() for parameter in encoder.parameters())

    def against_common(name: str, batch: MotionBatch, joints: str, padding: str) -> Measurement:
        return compare(
            name, partial(train_step, encoder, batch, encoder_features), partial(train_step, encoder, batch, baseline_features),
            f"forward and backward of {size:,} parameters on {motions} motions of {frames} frames of {joints} joints",
            f"common CTR-GCN implementation{padding}", repeats,
        )  # fmt: skip

    def step_with_encoder() -> None:
        with torch.no_grad():
            pool(encoder.eval()(mixed))
        packed_step(model, None, examples)

    measurements = [
        against_common("encoder block, one layout", one, "25", ""),
        against_common("encoder block, three layouts", mixed, "72, 28 and 25", ", padded to 72"),
        compare(
            "encode once", lambda: packed_step(model, None, examples), step_with_encoder,
            f"a recognition step of {llm.name} on {motions} motions of 72, 28 and 25 joints",
            f"the same step with the encoder in the loop, {frames} frames per motion", repeats,
        ),
    ]  # fmt: skip
    check_gradients(model)
    return measurements


def blocks_of(encoder: SkeletonEncoder) -> list[Block]:
    return cast(list[Block], list(encoder.blocks))


def draw_motions(encoder: SkeletonEncoder, layout_index: Sequence[int], count: int, frames: int) -> MotionBatch:
    """Random motions on these layouts, one after the other."""
    random = np.random.default_rng(0)
    index = [layout_index[n % len(layout_index)] for n in range(count)]
    motions = [random.standard_normal((frames, encoder.layouts[i].joints, 3), np.float32) for i in index]
    return collate(motions, index, frames_per_second=30.0)


def train_step(encoder: SkeletonEncoder, batch: MotionBatch, forward: Callable[[SkeletonEncoder, MotionBatch], Tensor]) -> None:
    """Forward and backward, of ours or of the baseline."""
    forward(encoder.train(), batch).square().mean().backward()


def encoder_features(encoder: SkeletonEncoder, batch: MotionBatch) -> Tensor:
    """(N, C, T', V) of ours."""
    return encoder(batch).features


def baseline_features(encoder: SkeletonEncoder, batch: MotionBatch) -> Tensor:
    """The same weights in a common CTR-GCN implementation: motions padded to the largest layout, separate 1x1 convolutions,
    query and key of every frame before their mean over time, one einsum per subset, torch's batch norm.

    For one layout and no padded frames the features are equal to the encoder's.

    Shape:
        positions (N, T, V, 3)  ->  (N, C, T', V)
    """
    joints = batch.positions.shape[2]
    x = batch.positions.new_zeros(len(batch), 6, batch.positions.shape[1], joints)  # (N, 6, T, V)
    adjacency = batch.positions.new_zeros(len(batch), SUBSETS, joints, joints)  # (N, K, V, V)
    for n, index in enumerate(batch.layout_index.tolist()):
        layout = encoder.layouts[index]
        own = slice(0, layout.joints)
        positions, pelvis = batch.positions[n : n + 1, :, own], layout.landmarks["pelvis"]
        inputs = joint_inputs(positions, batch.frame_mask[n : n + 1], pelvis, batch.frames_per_second)  # (6, 1, V, T)
        mean, std = getattr(encoder, f"input_mean_{index}"), getattr(encoder, f"input_std_{index}")
        x[n, :, :, own] = ((inputs[:, 0] - mean[..., None]) / std[..., None]).transpose(1, 2)
        adjacency[n, :, own, own] = getattr(encoder, f"adjacency_{index}")
    for block in blocks_of(encoder):
        x = _block(block, x, adjacency)
    return x


def _block(block: Block, x: Tensor, adjacency: Tensor) -> Tensor:
    graph, temporal = cast(GraphConvolution, block.graph), cast(TemporalConvolution, block.temporal)
    y = torch.relu(_norm(block.graph_norm, _graph(graph, x, adjacency)) + _skip(block.graph_skip, x))
    return torch.relu(_norm(block.temporal_norm, _temporal(temporal, y)) + _skip(block.skip, x))


def _graph(layer: GraphConvolution, x: Tensor, adjacency: Tensor) -> Tensor:
    """(N, C_in, T, V) -> (N, C, T, V)."""
    y = torch.zeros(())
    values, refinements = layer.value.weight.chunk(SUBSETS), layer.refine[..., None, None]
    for k in range(SUBSETS):
        part = slice(k * layer.compared, (k + 1) * layer.compared)
        query = F.conv2d(x, layer.query.weight[part, :, None, None], layer.query.bias[part]).mean(2)  # (N, compared, V)
        key = F.conv2d(x, layer.key.weight[part, :, None, None], layer.key.bias[part]).mean(2)
        compared = torch.tanh(query[..., :, None] - key[..., None, :])  # (N, compared, V, V)
        refinement = F.conv2d(compared, refinements[k]).repeat_interleave(layer.sharing, dim=1)  # (N, C, V, V)
        topology = refinement * layer.strength[k] + adjacency[:, k, None]
        y = y + torch.einsum("ncvu,nctu->nctv", topology, F.conv2d(x, values[k]))
    return y


def _temporal(layer: TemporalConvolution, x: Tensor) -> Tensor:
    """(N, C, T, V) -> (N, C, T', V): each branch with its own 1x1 convolution and batch norm."""
    quarter, stride, branches = x.shape[1] // 4, (layer.stride, 1), []
    for branch in range(4):
        part = slice(branch * quarter, (branch + 1) * quarter)
        branches.append(torch.relu(_norm(layer.mix_norm, F.conv2d(x, layer.mix.weight[part]), part)))
    near = F.conv2d(branches[0], layer.near.weight.transpose(2, 3), stride=stride, padding=(2, 0))
    far = F.conv2d(branches[1], layer.far.weight.transpose(2, 3), stride=stride, padding=(4, 0), dilation=(2, 1))
    highest = F.max_pool2d(branches[2], (3, 1), stride=stride, padding=(1, 0))
    return torch.cat([near, far, highest, branches[3][:, :, :: layer.stride]], dim=1)


def _skip(skip: Skip, x: Tensor) -> Tensor:
    if skip.project is None:
        return x
    return _norm(skip.norm, F.conv2d(x, skip.project.weight, stride=(skip.stride, 1)))


def _norm(norm: MaskedBatchNorm, x: Tensor, part: slice = slice(None)) -> Tensor:
    mean, variance = (None, None) if norm.training else (cast(Tensor, norm.running_mean)[part], cast(Tensor, norm.running_variance)[part])
    return F.batch_norm(x, mean, variance, norm.weight[part], norm.bias[part], training=norm.training, eps=EPSILON)
