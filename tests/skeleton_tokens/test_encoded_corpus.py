import json
import os

import numpy as np
import pytest
import torch

from emotion_llm.corpus.splits import SplitSettings
from emotion_llm.corpus.windows import windows
from emotion_llm.pretraining.data import mirror, mirror_order
from emotion_llm.pretraining.model import PretrainingModel
from emotion_llm.pretraining.trained_encoder import ABOUT, TrainedEncoder, load_encoder, save_encoder
from emotion_llm.runtime.errors import UserError
from emotion_llm.skeleton_encoder import pooling
from emotion_llm.skeleton_encoder.batch import collate
from emotion_llm.skeleton_encoder.pooling import EmotionClassifier, pool, pooled_rows
from emotion_llm.skeleton_tokens import encoded_corpus as module
from emotion_llm.skeleton_tokens.encoded_corpus import encode_corpora, encode_motions
from emotion_llm.skeleton_tokens.unified import SPATIAL


@pytest.fixture
def trained(tmp_path, encoder, two_corpora) -> TrainedEncoder:
    """An encoder that claims to have been trained on `two_corpora`."""
    known = {c.name: {"data_hash": c.data_hash, "split_hash": SplitSettings().of(c).split_hash} for c in two_corpora}
    metadata = {"emotions": ("anger", "joy", "sadness"), "frames_per_second": 30.0, "window_frames": 16, "split": {}, "corpora": known}
    save_encoder(tmp_path / "run", PretrainingModel(encoder, EmotionClassifier(encoder.width, 3), None), metadata)
    return load_encoder(tmp_path / "run")


@pytest.fixture
def encoded(trained, tmp_path):
    return encode_corpora(trained, tmp_path / "data", ("one", "two"), "cpu")


def test_every_window_has_the_features_that_the_encoder_gives_it_alone(trained, encoded):
    for index, of_corpus in enumerate(encoded):
        corpus, window = of_corpus.corpus, 0
        for clip in range(len(corpus)):
            cuts = windows(int(corpus.clips["frames"][clip]), 16)
            assert of_corpus.windows_of_clips([clip]).tolist() == list(range(window, window + len(cuts)))
            for start, frames in cuts:
                motion = of_corpus.motion(window)
                alone = pool(trained.encoder(collate([corpus.positions(clip)[start : start + frames]], [index], 30.0)))
                expected = torch.cat([alone.semantic, alone.spatial[0], alone.temporal[0]])
                assert torch.allclose(motion.rows[:, : of_corpus.width], expected, atol=1e-5)
                measured = motion.rows[:, of_corpus.width :]
                assert torch.allclose(measured[motion.granularities != SPATIAL], alone.descriptors, atol=1e-5)
                assert not measured[motion.granularities == SPATIAL].any()
                assert (motion.joints, motion.time_steps) == (corpus.layout.joints, -(-frames // 4))
                assert len(motion.rows) == of_corpus.skeleton_tokens(window)
                assert of_corpus.emotion(window) == corpus.clip(clip).emotion == corpus.emotions[of_corpus.emotion_index(window)]
                assert of_corpus.window_name(window) == f"{corpus.name}/{corpus.names[clip]}[{start}:{start + frames}]"
                window += 1
        assert window == len(of_corpus)


def test_a_whole_clip_has_the_mean_descriptors_of_its_windows(encoded):
    for of_corpus in encoded:
        clip = int(np.argmax(of_corpus.corpus.clips["frames"]))
        assert len(of_corpus.windows_of_clips([clip])) > 1
        expected = torch.from_numpy(of_corpus.semantic_rows([clip])).mean(0)
        torch.testing.assert_close(of_corpus.clip_motion(clip).rows[0], expected)


def test_features_do_not_depend_on_what_is_encoded_beside_them(trained, two_corpora, monkeypatch):
    motions = [two_corpora[0].positions(clip) for clip in range(10)]
    one = dict(pooled_rows(trained.encoder, motions, 0, 30.0))
    monkeypatch.setattr(pooling, "WINDOWS_PER_BATCH", 3)
    other = dict(pooled_rows(trained.encoder, motions[::-1], 0, 30.0))
    assert all(torch.allclose(one[index], other[9 - index], atol=1e-5) for index in range(10))


def test_what_is_encoded_once_is_never_encoded_again(trained, encoded, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "pooled_rows", None)
    again = encode_corpora(trained, tmp_path / "data", ("one", "two"), "cpu")
    assert [one.folders for one in again] == [one.folders for one in encoded]


def test_another_encoder_or_other_data_never_meets_old_features(trained, encoded, tmp_path):
    with torch.no_grad():
        trained.model.classifier.head.bias[0] += 1
    other = save_encoder(tmp_path / "run", trained.model, json.loads((tmp_path / "run" / ABOUT).read_text()))
    first, second = encoded[0].folders[0], encode_corpora(other, tmp_path / "data", ("one",), "cpu")[0].folders[0]
    assert second != first
    metadata = tmp_path / "data" / "one" / "corpus.json"
    metadata.write_text(metadata.read_text().replace(encoded[0].corpus.data_hash, "0" * 64))
    assert encode_corpora(other, tmp_path / "data", ("one",), "cpu", accept_other_data=True)[0].folders[0] not in (first, second)


def test_an_interrupted_encoding_leaves_nothing_that_looks_whole(trained, tmp_path, monkeypatch):
    true_rows = module.pooled_rows

    def broken(*arguments):
        yield next(iter(true_rows(*arguments)))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "pooled_rows", broken)
    with pytest.raises(KeyboardInterrupt):
        encode_corpora(trained, tmp_path / "data", ("one",), "cpu")
    monkeypatch.setattr(module, "pooled_rows", true_rows)
    (left,) = (tmp_path / "data" / "features").iterdir()
    assert left.name.endswith(".tmp")
    encoded = encode_corpora(trained, tmp_path / "data", ("one",), "cpu")[0]
    assert [folder.name for folder in (tmp_path / "data" / "features").iterdir()] == [encoded.folders[0].name]
    assert np.isfinite(encoded.features).all() and (encoded.features != 0).any(1).all()


def test_what_another_job_is_writing_is_left_alone_however_old_it_is(trained, encoded, tmp_path):
    target = encoded[0].folders[0]
    live, dead = (target.with_name(f"{target.name}.{who}.tmp") for who in ("live", "dead"))
    for partial in (live, dead):
        partial.mkdir()
        os.utime(partial, (0, 0))
    (target / "checksums.json").unlink()
    with module._lock(live):
        encode_corpora(trained, tmp_path / "data", ("one",), "cpu")
        assert live.is_dir() and not dead.exists()


def change(path, edit) -> None:
    np.save(path, edit(np.load(path)).astype(np.load(path).dtype))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "features.npy").unlink(),
        lambda folder: (folder / "features.npy").write_bytes((folder / "features.npy").read_bytes()[:-100]),
        lambda folder: (folder / "windows.npy").write_bytes(b"\x93NUMPY\x01\x00 \x00{"),
        lambda folder: np.save(folder / "windows.npy", np.array([{}]), allow_pickle=True),
        lambda folder: np.save(folder / "features.npy", np.zeros((3, 4), np.float32)),
        lambda folder: (folder / "checksums.json").unlink(),
        lambda folder: change(folder / "features.npy", lambda features: features * 0),
        lambda folder: change(folder / "features.npy", lambda features: features + (np.arange(len(features)) == 7)[:, None]),
        lambda folder: change(folder / "windows.npy", lambda windows: windows[::-1].copy()),
    ],
)
def test_damaged_features_are_encoded_again(trained, encoded, tmp_path, capsys, damage):
    before = np.array(encoded[0].features)
    damage(encoded[0].folders[0])
    again = encode_corpora(trained, tmp_path / "data", ("one",), "cpu")[0]
    assert f"{again.folders[0]}: is damaged; encoded again" in capsys.readouterr().out
    assert np.array_equal(again.features, before)
    assert sorted((tmp_path / "data" / "features").iterdir()) == sorted(one.folders[0] for one in encoded)


def test_a_motion_is_encoded_as_its_corpus_is(trained, encoded):
    clip = int(np.argmax(encoded[1].corpus.clips["frames"]))
    (motions,) = encode_motions(trained, 1, [encoded[1].corpus.positions(clip)])
    expected = [encoded[1].motion(window) for window in encoded[1].windows_of_clips([clip])]
    assert len(motions) == len(expected) > 1
    assert all(torch.allclose(one.rows, other.rows, atol=1e-5) for one, other in zip(motions, expected, strict=True))


def test_training_moments_are_those_of_the_training_windows(encoded):
    one = encoded[0]
    motions = [one.motion(window) for window in one.windows_of_clips(one.split.train)]
    rows, granularities = torch.cat([motion.rows for motion in motions]), torch.cat([motion.granularities for motion in motions])
    mean, square = one.training_moments()
    for granularity in range(3):
        of_granularity = rows[granularities == granularity]
        assert torch.allclose(mean[granularity], of_granularity.mean(0), atol=1e-5)
        assert torch.allclose(square[granularity], of_granularity.square().mean(0), atol=1e-4)


def test_a_clip_is_classified_by_the_mean_over_its_windows(trained, encoded):
    clip = int(np.argmax(encoded[1].corpus.clips["frames"]))
    semantic = torch.stack([encoded[1].motion(window).rows[0] for window in encoded[1].windows_of_clips([clip])])
    expected = trained.probabilities(semantic, ("joy", "sadness")).mean(0)
    assert torch.allclose(encoded[1].classifier_probabilities(trained, clip), expected)


def test_windows_come_in_the_order_of_the_clips(encoded):
    assert encoded[0].windows_of_clips([]).tolist() == []
    two = encoded[0].windows_of_clips([5, 2]).tolist()
    assert two == encoded[0].windows_of_clips([5]).tolist() + encoded[0].windows_of_clips([2]).tolist()


def test_a_corpus_that_the_encoder_was_not_trained_on_is_refused_unless_accepted(trained, make_corpus, tmp_path):
    make_corpus("three", "kinect_v2_25", ("joy",), 5)
    with pytest.raises(
        UserError, match=r"corpus 'three' was not among the training corpora .*; restore the data, or pre-train the encoder"
    ):
        encode_corpora(trained, tmp_path / "data", ("three",), "cpu")
    assert len(encode_corpora(trained, tmp_path / "data", ("three",), "cpu", accept_other_data=True)) == 1
    make_corpus("slow", "kinect_v2_25", ("joy",), 5, frames_per_second=15.0)
    with pytest.raises(UserError, match="slow: 15 frames per second, the encoder was trained at 30; prepare the corpus at that rate"):
        encode_corpora(trained, tmp_path / "data", ("slow",), "cpu")
    make_corpus("unknown_body", "bandai_namco_27", ("joy",), 5)
    with pytest.raises(UserError, match=r"layout 'bandai_namco_27' .* is not known to the encoder"):
        encode_corpora(trained, tmp_path / "data", ("unknown_body",), "cpu")


def test_positions_that_were_zeroed_since_the_import_are_refused(trained, two_corpora, tmp_path):
    path = two_corpora[0].folder / "positions.npy"
    path.write_bytes(path.read_bytes()[:128] + bytes(path.stat().st_size - 128))
    with pytest.raises(UserError, match=r"one: positions.npy changed since the import; restore the files"):
        encode_corpora(trained, tmp_path / "data", ("one",), "cpu")


def test_a_view_holds_the_same_windows_mirrored_or_cut_later(small_world):
    trained = load_encoder(small_world.encoder)
    (encoded,) = encode_corpora(trained, small_world.data, ("egbm",), "cpu", views=4)
    order, corpus = mirror_order(encoded.corpus.layout), encoded.corpus
    for window, (clip, start, frames, _) in enumerate(encoded.windows.tolist()):
        mirrored = mirror(corpus.positions(clip)[start : start + frames], order)
        expected = encode_motions(trained, trained.layout_index(corpus.layout), [mirrored])[0][0]
        torch.testing.assert_close(encoded.motion(window, 1).rows, expected.rows, rtol=1e-4, atol=1e-5)
        one_window = len(encoded.windows_of_clips([clip])) == 1
        assert torch.equal(encoded.motion(window, 2).rows, encoded.motion(window).rows) == one_window
    for folder in encoded.folders[2:]:
        shifted = np.load(folder / "windows.npy")
        ends = shifted["start"] + shifted["frames"]
        assert (shifted["start"] >= 0).all() and (ends <= corpus.clips["frames"][shifted["clip"]]).all()
        assert (shifted["row"] == encoded.windows["row"]).all()
