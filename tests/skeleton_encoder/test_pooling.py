import torch

from emotion_llm.skeleton_encoder.encoder import EncodedMotion
from emotion_llm.skeleton_encoder.pooling import EmotionClassifier, pool


def test_pooled_features_are_means_over_what_is_real():
    features = torch.randn(2, 3, 5, 4)
    frame_mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    joint_mask = torch.tensor([[True] * 3 + [False], [True] * 4])
    features = features * frame_mask[:, None, :, None] * joint_mask[:, None, None]
    pooled = pool(EncodedMotion(features, frame_mask, joint_mask))
    for n, (frames, joints) in enumerate(((5, 3), (2, 4))):
        real = features[n, :, :frames, :joints]
        assert torch.allclose(pooled.semantic[n], real.mean((1, 2)), atol=1e-6)
        assert torch.allclose(pooled.spatial[n, :joints], real.mean(1).T, atol=1e-6)
        assert torch.allclose(pooled.temporal[n, :frames], real.mean(2).T, atol=1e-6)
        assert (pooled.spatial[n, joints:] == 0).all() and (pooled.temporal[n, frames:] == 0).all()


def test_a_motion_is_judged_among_its_own_corpus_words_only():
    classifier = EmotionClassifier(3, 4)
    candidates = torch.tensor([[True, False, True, False], [True, True, True, True]])
    probabilities = classifier(torch.randn(2, 3), candidates).softmax(1)
    assert (probabilities[0, [1, 3]] == 0).all() and (probabilities[1] > 0).all()
