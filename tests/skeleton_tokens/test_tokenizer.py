"""The skeleton tokenizer (MGST)."""

import torch

from emotion_llm.skeleton_tokens.tokenizer import SkeletonTokenizer
from emotion_llm.skeleton_tokens.unified import SEMANTIC, SPATIAL, TEMPORAL


def test_projecting_the_pooled_features_equals_pooling_the_projected_features():
    features = torch.randn(8, 5, 7)  # (C, T', V)
    tokenizer = SkeletonTokenizer(8, 16)
    tokenizer.set_feature_statistics(torch.randn(3, 8), torch.rand(3, 8) + 0.5)
    pooled = torch.cat([features.mean((1, 2))[None], features.mean(1).T, features.mean(2).T])  # (1 + V + T', C)
    granularities = torch.tensor([SEMANTIC] + [SPATIAL] * 7 + [TEMPORAL] * 5)
    tokens = tokenizer(pooled, granularities)

    def projected(granularity: int) -> torch.Tensor:  # the paper's order: a 1x1 convolution on the whole feature map, (D, T', V)
        standard = (features - tokenizer.feature_mean[granularity][:, None, None]) / tokenizer.feature_std[granularity][:, None, None]
        projection = tokenizer.projections[granularity]
        return torch.nn.functional.conv2d(standard[None], projection.weight[:, :, None, None], projection.bias)[0]

    torch.testing.assert_close(tokens[0], projected(SEMANTIC).mean((1, 2)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens[1:8], projected(SPATIAL).mean(1).T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens[8:], projected(TEMPORAL).mean(2).T, rtol=1e-4, atol=1e-5)


def test_a_token_does_not_depend_on_the_others():
    tokenizer, features = SkeletonTokenizer(8, 16), torch.randn(6, 8)
    granularities = torch.tensor([0, 1, 1, 2, 1, 2])
    together = tokenizer(features, granularities)
    for index in range(6):
        torch.testing.assert_close(tokenizer(features[index : index + 1], granularities[index : index + 1])[0], together[index])


def test_each_granularity_has_a_projection_of_its_own():
    tokenizer = SkeletonTokenizer(8, 16)
    tokenizer(torch.randn(3, 8), torch.tensor([0, 1, 1])).sum().backward()
    assert tokenizer.projections[SPATIAL].weight.grad.any()
    assert not tokenizer.projections[TEMPORAL].weight.grad.any()


def test_tokens_start_as_large_as_the_llms_embeddings():
    tokens = SkeletonTokenizer(256, 512, embedding_scale=0.13)(torch.randn(300, 256), torch.randint(3, (300,)))
    assert 0.12 < float(tokens.detach().pow(2).mean().sqrt()) < 0.14


def test_a_channel_that_never_moves_is_not_blown_up():
    tokenizer = SkeletonTokenizer(2, 4)
    tokenizer.set_feature_statistics(torch.zeros(3, 2), torch.zeros(3, 2))
    assert torch.isfinite(tokenizer(torch.ones(1, 2), torch.tensor([0]))).all()


def test_semantic_tokens_can_start_near_the_words_for_what_is_read_from_them():
    torch.manual_seed(0)
    tokenizer = SkeletonTokenizer(6, 40, embedding_scale=0.1)
    semantic, words = torch.randn(200, 6) * torch.arange(1.0, 7.0), torch.linalg.qr(torch.randn(40, 6))[0].T
    readings, words = [torch.randn(4, 6), torch.randn(2, 6)], [words[:4], words[4:]]  # such as emotions and qualities
    tokenizer.set_feature_statistics(torch.zeros(3, 6), torch.arange(1.0, 7.0).expand(3, 6))
    granularities = torch.full((200,), SEMANTIC)
    with torch.no_grad():
        before, spatial = tokenizer(semantic, granularities), tokenizer(semantic, torch.full((200,), SPATIAL))
        tokenizer.point_to_words(readings, words, semantic)
        added = tokenizer(semantic, granularities) - before
        assert torch.equal(tokenizer(semantic, torch.full((200,), SPATIAL)), spatial)
    for reading, word in zip(readings, words, strict=True):
        part = added @ word.T  # (200, K): what is read, up to a scale
        assert torch.equal(part.argmax(1), (semantic @ reading.T).argmax(1))
        torch.testing.assert_close((part @ word).square().mean().sqrt(), before.square().mean().sqrt())
