"""--html of prepare: pages of a corpus, before any model has seen it."""

from dataclasses import replace

from emotion_llm.corpus.settings import PrepareSettings
from emotion_llm.corpus.store import open_corpus
from emotion_llm.inference.answer import Answer
from emotion_llm.inference.recordings import AS_RECORDED, Conventions
from emotion_llm.report.clip import clip_record
from emotion_llm.report.folder import Report
from emotion_llm.report.sources import corpus_clips, evaluated_clips, predicted_clip
from launch.prepare import write_pages


def test_every_clip_of_a_corpus_has_a_page(small_world, tmp_path):
    settings = PrepareSettings(output=small_world.data, html=tmp_path)
    index = write_pages(settings, ["egbm", "emilya"])
    clips = sum(len(open_corpus(small_world.data / name)) for name in ("egbm", "emilya"))
    assert index == tmp_path / "index.html" and len(list((tmp_path / "clips").iterdir())) == clips


def test_a_record_of_an_evaluation_becomes_an_answer_beside_the_label(small_world):
    corpus = open_corpus(small_world.data / "egbm")
    claim = {"claim": {"quality": "speed", "direction": 1}, "verdict": "supported"}
    record = {"corpus": "egbm", "clip": str(corpus.names[3]), "predicted": "fear", "probabilities": {"anger": 0.2, "fear": 0.8}}
    first, second = evaluated_clips([record, record | {"explanation": "The movement is fast.", "claims": [claim]}], [corpus])
    assert (first.name, first.truth) == (str(corpus.names[3]), corpus.clip(3).emotion)
    assert first.answer is not None and second.answer is not None
    assert list(first.answer.probabilities) == ["fear", "anger"] and first.answer.explanation is None
    assert [judged["verdict"] for judged in clip_record(second)["claims"]] == ["supported"]


def test_a_recording_that_cannot_be_drawn_is_named(tmp_path, capsys):
    answer = Answer(str(tmp_path / "gone.bvh"), "egbm", "anger", {"anger": 1.0}, None)
    assert predicted_clip(answer, Conventions({}, {}), AS_RECORDED) is None
    assert f"no page: {tmp_path}/gone.bvh: no such motion file" in capsys.readouterr().out
    assert Report(tmp_path / "page.html").close("") is None and not (tmp_path / "page.html").exists()


def test_a_clip_of_a_corpus_carries_its_label_and_its_own_positions(small_world):
    corpus = open_corpus(small_world.data / "egbm")
    for index, clip in enumerate(corpus_clips([corpus])):
        about = corpus.clip(index)
        assert replace(clip, motion=None) == replace(
            clip, motion=None, name=about.name, truth=about.emotion, actor=about.actor, texts=about.texts
        )
        assert (clip.motion.positions == corpus.positions(index)).all()
