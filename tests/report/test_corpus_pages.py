"""--html of prepare: pages of a corpus, before any model has seen it."""

from dataclasses import replace

from emotion_llm.corpus.settings import PrepareSettings
from emotion_llm.corpus.store import open_corpus
from emotion_llm.report.sources import corpus_clips
from launch.prepare import write_pages


def test_every_clip_of_a_corpus_has_a_page(small_world, tmp_path):
    settings = PrepareSettings(output=small_world.data, html=tmp_path)
    index = write_pages(settings, ["egbm", "emilya"])
    clips = sum(len(open_corpus(small_world.data / name)) for name in ("egbm", "emilya"))
    assert index == tmp_path / "index.html" and len(list((tmp_path / "clips").iterdir())) == clips


def test_a_clip_of_a_corpus_carries_its_label_and_its_own_positions(small_world):
    corpus = open_corpus(small_world.data / "egbm")
    for index, clip in enumerate(corpus_clips([corpus])):
        about = corpus.clip(index)
        assert replace(clip, motion=None) == replace(
            clip, motion=None, name=about.name, truth=about.emotion, actor=about.actor, texts=about.texts
        )
        assert (clip.motion.positions == corpus.positions(index)).all()
