"""Importing: the same corpus whatever the circumstances, nothing half-made that looks whole, nothing lost."""

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from emotion_llm.corpus import importing, reading_log, store
from emotion_llm.corpus import reading as clip_reading
from emotion_llm.corpus.definition import read_definition
from emotion_llm.corpus.importing import PrepareSettings, check_corpus, import_corpus
from emotion_llm.corpus.store import open_corpus, recomputed_hash
from emotion_llm.corpus.synthetic import write_egbm
from emotion_llm.errors import UserError
from emotion_llm.motion.canonical import CanonicalSettings

EGBM, CANONICAL = read_definition("egbm"), CanonicalSettings()
IMPORT = """
import sys
from pathlib import Path
from emotion_llm.corpus.definition import read_definition
from emotion_llm.corpus.importing import import_corpus
from emotion_llm.motion.canonical import CanonicalSettings
if __name__ == "__main__":
    print("ready", flush=True)
    import_corpus(read_definition("egbm"), Path(sys.argv[1]), Path(sys.argv[2]), CanonicalSettings(), int(sys.argv[3]))
"""


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    write_egbm(folder, clips_per_emotion=2, seed=0)
    return folder


@pytest.fixture
def source(written, tmp_path) -> Path:
    """A copy of 14 motion files and their descriptions, to be spoiled at will."""
    return Path(shutil.copytree(written, tmp_path / "source"))


@pytest.fixture(scope="session")
def whole(written, tmp_path_factory) -> dict[str, bytes]:
    """Every file of the corpus that an unbroken import makes, but for the times of the source files."""
    output = tmp_path_factory.mktemp("whole")
    run(written, output)
    return content(output / "egbm")


def run(source: Path, output: Path, workers: int = 1) -> importing.Imported:
    return import_corpus(EGBM, source, output, CANONICAL, workers)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "sources.jsonl"}


def stamps(folder: Path) -> dict[str, tuple]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*")}


@pytest.fixture
def files_read(monkeypatch) -> list[str]:
    """Grows by each file that is read, as long as one process does it all."""
    read, really = [], clip_reading.read_clip
    monkeypatch.setattr(clip_reading, "read_clip", lambda source, file, settings: read.append(file.path) or really(source, file, settings))
    return read


def test_an_imported_clip_has_its_labels_its_texts_and_finite_positions(source, tmp_path):
    imported = run(source, tmp_path / "data")
    corpus = imported.corpus
    assert len(corpus) == 14 and not imported.up_to_date and imported.report.faults == 0
    assert corpus.emotions == EGBM.emotions and len(corpus.actors) >= 2
    for index in range(len(corpus)):
        clip, positions = corpus.clip(index), corpus.positions(index)
        assert clip.emotion == EGBM.word("emotion", clip.name.split("_")[1])
        assert clip.actor == clip.name.split("_")[0]
        assert positions.dtype == np.float32 and positions.shape == (clip.frames, 25, 3) and np.isfinite(positions).all()
    assert sum(bool(corpus.clip(index).texts) for index in range(14)) == imported.report.described_clips > 0
    assert recomputed_hash(corpus) == corpus.data_hash


def test_the_result_is_the_same_to_the_byte_whatever_the_number_of_workers(source, tmp_path, monkeypatch):
    monkeypatch.setattr(clip_reading, "CHUNK_FILES", 3)  # several chunks, so that several processes have work
    results = []
    for workers in (1, 2, 3):
        run(source, tmp_path / str(workers), workers)
        results.append(
            content(tmp_path / str(workers) / "egbm") | {"sources": (tmp_path / str(workers) / "egbm/sources.jsonl").read_bytes()}
        )
        assert sorted(path.name for path in (tmp_path / str(workers)).iterdir()) == ["egbm"]
    assert results[0] == results[1] == results[2]


def test_importing_again_what_has_not_changed_writes_and_reads_nothing(source, tmp_path, files_read):
    run(source, tmp_path / "data")
    files_read.clear()
    before = stamps(tmp_path / "data")
    again = run(source, tmp_path / "data")
    assert again.up_to_date and not files_read
    assert stamps(tmp_path / "data") == before
    assert again.report == run(source, tmp_path / "elsewhere").report


def test_files_that_were_copied_or_touched_but_say_the_same_count_as_unchanged(source, tmp_path, files_read):
    run(source, tmp_path / "data")
    files_read.clear()
    for path in source.iterdir():
        os.utime(path, ns=(1, 1))
    assert run(source, tmp_path / "data").up_to_date and not files_read


def test_the_data_hash_depends_neither_on_paths_nor_on_the_definition_that_read_them(source, tmp_path):
    for path in [*source.glob("*_*_*.csv")]:
        actor, emotion, take = path.stem.split("_")
        moved = tmp_path / "tree" / "deep" / actor / emotion / f"number {take}.csv"
        moved.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, moved)
    (source / "descriptions.csv").unlink()
    first, second = run(source, tmp_path / "one").corpus, run(tmp_path / "tree", tmp_path / "two").corpus
    assert list(first.names) != list(second.names)
    assert first.data_hash == second.data_hash


def test_a_label_a_text_a_setting_or_a_motion_that_changes_changes_the_data_hash(source, tmp_path):
    hashes = {run(source, tmp_path / "data").corpus.data_hash}
    hashes.add(import_corpus(EGBM, source, tmp_path / "data", CanonicalSettings(frames_per_second=25), 1).corpus.data_hash)
    with (source / "descriptions.csv").open("a") as file:
        file.write(f"{min(path.stem for path in source.glob('*_*_*.csv'))},She stands there.\n")
    hashes.add(run(source, tmp_path / "data").corpus.data_hash)
    path = min(source.glob("*_Sad_*.csv"))
    path = path.rename(path.with_name(path.name.replace("Sad", "Fear").replace(".csv", "9.csv")))
    hashes.add(run(source, tmp_path / "data").corpus.data_hash)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-2]))
    hashes.add(run(source, tmp_path / "data").corpus.data_hash)
    assert len(hashes) == 5


def test_bad_files_are_left_out_with_their_reason_and_the_rest_is_imported(source, tmp_path):
    bad = {"X_Sad_1.csv": "", "X_Sad_2.csv": "not,a\nmotion,at all\n", "X_Sad_3.csv": "1,2,3\n4,5,6\n"}
    for name, text in bad.items():
        (source / name).write_text(text)
    imported = run(source, tmp_path / "data")
    assert len(imported.corpus) == 14 and imported.report.faults == 3
    said = {item.path: item.reason for item in imported.report.left_out if not item.by_rule}
    assert set(said) == set(bad)
    assert not any(str(source) in reason for reason in said.values())
    again = run(source, tmp_path / "data")
    assert again.up_to_date and again.report == imported.report


def test_a_source_without_any_readable_file_is_refused_and_leaves_no_corpus(write_files, tmp_path):
    source = write_files("broken", {"A_Sad_1.csv": "nonsense", "A_Sad_2.csv": ""})
    with pytest.raises(UserError, match=r"none of the 2 files can be read; the first, A_Sad_1.csv: "):
        run(source, tmp_path / "data")
    with pytest.raises(UserError, match="no prepared corpus here; make one with"):
        open_corpus(tmp_path / "data" / "egbm")


def test_a_new_file_is_read_alone_and_the_others_are_taken_over(source, tmp_path, files_read):
    hidden = min(source.glob("*_*_*.csv")).rename(tmp_path / "hidden.csv")
    name = sorted(path.name for path in source.glob("*_*_*.csv"))[0]
    run(source, tmp_path / "data")
    shutil.copy(hidden, source / f"New_{name.split('_', 1)[1]}")
    files_read.clear()
    grown = run(source, tmp_path / "data")
    assert files_read == [f"New_{name.split('_', 1)[1]}"]
    assert len(grown.corpus) == 14 and not grown.up_to_date
    shutil.rmtree(tmp_path / "data")
    assert run(source, tmp_path / "data").corpus.data_hash == grown.corpus.data_hash


def test_a_damaged_corpus_is_made_anew(source, tmp_path):
    run(source, tmp_path / "data")
    (tmp_path / "data/egbm/clips.npy").write_bytes(b"gone")
    assert not run(source, tmp_path / "data").up_to_date
    assert recomputed_hash(open_corpus(tmp_path / "data/egbm")) == open_corpus(tmp_path / "data/egbm").data_hash


def test_an_interrupted_import_goes_on_where_it_stopped(source, tmp_path, files_read, monkeypatch, whole):
    really = reading_log.ReadingLog.add

    def add(log, reading, positions):
        really(log, reading, positions)
        if len(files_read) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(reading_log.ReadingLog, "add", add)
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "data")
    assert not (tmp_path / "data/egbm").exists()
    monkeypatch.setattr(reading_log.ReadingLog, "add", really)
    files_read.clear()
    run(source, tmp_path / "data")
    assert len(files_read) == 8
    assert content(tmp_path / "data/egbm") == whole


@pytest.mark.parametrize(
    "spoil", ["cut the last line", "cut the positions", "flip a byte of the positions", "garbage line", "other settings"]
)
def test_whatever_is_wrong_with_what_an_interrupted_import_left_the_result_is_the_same(
    source, tmp_path, files_read, monkeypatch, whole, spoil
):
    really = importing._put_together
    monkeypatch.setattr(importing, "_put_together", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "data")
    lines, rows = tmp_path / "data/egbm.partial/readings.jsonl", tmp_path / "data/egbm.partial/positions.f32"
    if spoil == "cut the last line":
        lines.write_bytes(lines.read_bytes()[:-20])
    elif spoil == "cut the positions":
        rows.write_bytes(rows.read_bytes()[:-5000])
    elif spoil == "flip a byte of the positions":
        raw = bytearray(rows.read_bytes())
        raw[1000] ^= 1
        rows.write_bytes(raw)
    elif spoil == "garbage line":
        lines.write_bytes(lines.read_bytes()[:-20] + b'{"row": "x"}\n[]\n\xff\n')
    else:
        lines.write_text('{"fingerprint": "other"}\n')
    monkeypatch.setattr(importing, "_put_together", really)
    files_read.clear()
    run(source, tmp_path / "data")
    assert len(files_read) == (14 if spoil == "other settings" else 1)
    assert content(tmp_path / "data/egbm") == whole


def in_a_fork(action) -> int:
    """Runs the action in a copy of this process; its exit status, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except UserError as error:
            sys.stderr.write(str(error))
            os._exit(2)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def smaller(source, tmp_path) -> Path:
    """The same source, a file fewer."""
    folder = Path(shutil.copytree(source, tmp_path / "smaller"))
    min(folder.glob("*_*_*.csv")).unlink()
    return folder


@pytest.mark.parametrize("replacing", [False, True])
def test_killed_at_any_step_of_the_writing_either_the_old_or_the_new_corpus_is_there_and_whole(
    source, smaller, tmp_path, whole, replacing, monkeypatch
):
    folder = tmp_path / "data" / "egbm"
    old = content(run(smaller, tmp_path / "data").corpus.folder) if replacing else None
    steps = 0

    def counted(really, kill_at):
        def call(*arguments, **options):
            nonlocal steps
            steps += 1
            if steps == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return really(*arguments, **options)

        return call

    def killed_import(kill_at):
        for holder, name in (
            (importing, "_flush"),
            (importing, "write_json"),
            (store, "write_json"),
            (Path, "rename"),
            (shutil, "rmtree"),
            (np, "save"),
        ):
            monkeypatch.setattr(holder, name, counted(getattr(holder, name), kill_at))
        run(source, tmp_path / "data")

    for kill_at in range(1, 100):
        status = in_a_fork(partial(killed_import, kill_at))
        if replacing or folder.exists():
            there = content(open_corpus(folder).folder)
            assert there in (old, whole)
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert kill_at > 15
    assert content(folder) == whole
    run(source, tmp_path / "data")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["egbm"]


def killed_at_random(source: Path, output: Path, moments: list[float], workers: int) -> int:
    """Starts the import again and again, kills it after each of those seconds of work; how often it was killed in time."""
    kills = 0
    for seconds in moments:
        child = subprocess.Popen(
            [sys.executable, "-c", IMPORT, source, output, str(workers)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        child.stdout.readline()
        time.sleep(seconds)
        child.kill()
        killed = child.wait() == -signal.SIGKILL
        child.stdout.close()
        if (output / "egbm").exists():
            corpus = open_corpus(output / "egbm")
            assert recomputed_hash(corpus) == corpus.data_hash
        if killed:
            kills += 1
        else:
            shutil.rmtree(output)  # it was done in time: begin again
    return kills


def test_an_import_that_is_killed_at_random_moments_ends_up_the_same(source, tmp_path, whole):
    rng = random.Random(0)
    assert killed_at_random(source, tmp_path / "data", [rng.uniform(0, 0.25) for _ in range(3)], workers=1) > 0
    run(source, tmp_path / "data")
    assert content(tmp_path / "data/egbm") == whole


@pytest.mark.slow
def test_an_import_that_is_killed_again_and_again_ends_up_the_same(tmp_path):
    write_egbm(tmp_path / "source", clips_per_emotion=40, seed=0)
    rng = random.Random(1)
    assert killed_at_random(tmp_path / "source", tmp_path / "data", [rng.uniform(0, 2.5) for _ in range(40)], workers=2) >= 20
    run(tmp_path / "source", tmp_path / "data")
    run(tmp_path / "source", tmp_path / "unbroken", workers=2)
    assert content(tmp_path / "data/egbm") == content(tmp_path / "unbroken/egbm")


def test_workers_end_with_a_parent_that_was_killed(source, tmp_path):
    for number in range(60):
        for path in list(source.glob("*_*_1.csv"))[:5]:
            shutil.copy(path, source / f"P{number}_{path.stem.split('_')[1]}_{number}.csv")
    child = subprocess.Popen(
        [sys.executable, "-c", IMPORT, source, tmp_path / "data", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    child.stdout.readline()
    time.sleep(1.0)
    child.kill()
    child.wait()
    child.stdout.close()
    for _ in range(100):
        try:
            os.killpg(child.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(child.pid, signal.SIGKILL)
    raise AssertionError("workers outlived their parent by ten seconds")


@pytest.mark.parametrize("replacing", [False, True])
def test_a_full_disk_is_said_in_one_line_and_costs_nothing(source, smaller, tmp_path, whole, replacing, capfd):
    folder = tmp_path / "data" / "egbm"
    old = content(run(smaller, tmp_path / "data").corpus.folder) if replacing else None

    def with_a_small_disk(limit: int):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing beyond the limit then fails as it does on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        run(source, tmp_path / "data")

    size = len(whole["positions.npy"])
    for limit in (1000, size // 3, size - 1):  # full at once, while reading, while putting together
        assert in_a_fork(partial(with_a_small_disk, limit)) == 2
        said = capfd.readouterr().err
        assert "cannot be written (File too large); make room or choose another --output and run again" in said
        assert "what has been read so far is kept in" in said
        assert replacing == folder.exists()
        if replacing:
            assert content(open_corpus(folder).folder) == old
    run(source, tmp_path / "data")
    assert content(folder) == whole


def test_no_space_left_on_the_device_is_said_too(source, tmp_path, monkeypatch):
    monkeypatch.setattr(reading_log, "_write_all", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    with pytest.raises(UserError, match=r"egbm.partial: cannot be written \(No space left on device\); make room"):
        run(source, tmp_path / "data")


def test_two_imports_of_one_corpus_at_a_time_are_refused(source, tmp_path):
    with importing._alone(tmp_path / "data" / "egbm.partial"), pytest.raises(UserError, match="another process is importing this corpus"):
        run(source, tmp_path / "data")


def test_a_foreign_folder_in_the_way_is_not_touched(source, tmp_path):
    (tmp_path / "data" / "egbm").mkdir(parents=True)
    (tmp_path / "data" / "egbm" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="holds something that is no corpus; move it away, or choose another --output"):
        run(source, tmp_path / "data")
    assert (tmp_path / "data" / "egbm" / "thesis.txt").read_text() == "precious"


def test_checking_a_corpus_reads_everything_and_writes_nothing(source, tmp_path):
    (source / "X_Sad_1.csv").write_text("nonsense")
    before = stamps(tmp_path)
    report = check_corpus(EGBM, source, CANONICAL, workers=1)
    assert stamps(tmp_path) == before
    imported = run(source, tmp_path / "data").report
    assert report.faults == imported.faults == 1
    assert (report.emotions, report.suspicious, report.left_out) == (imported.emotions, imported.suspicious, imported.left_out)


def test_a_worker_that_the_system_ends_is_said_in_one_line(source, tmp_path, monkeypatch):
    monkeypatch.setattr(clip_reading, "CHUNK_FILES", 3)
    monkeypatch.setattr(clip_reading, "_start_worker", os.abort)
    with pytest.raises(UserError, match=r"the system ended a worker process.*run again with fewer --workers"):
        run(source, tmp_path / "data", workers=2)


def test_settings_are_checked_at_birth():
    with pytest.raises(UserError, match="--workers -1: give a number from 0"):
        PrepareSettings(workers=-1)
