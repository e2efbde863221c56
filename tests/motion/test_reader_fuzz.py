"""Mutated and random files: the readers' own error and nothing else comes out, soon, and without much memory."""

import contextlib
import io
import time
import tracemalloc
import warnings

import numpy as np
import pytest

from emotion_llm.motion.arrays import parse_array
from emotion_llm.motion.bvh import parse_bvh
from emotion_llm.motion.canonical import CanonicalSettings, canonicalise, to_motion
from emotion_llm.motion.checks import check_clip
from emotion_llm.motion.infer_layout import infer_layout
from emotion_llm.motion.layout import read_layout
from emotion_llm.motion.motion import MotionFileError, RecordedMotion
from emotion_llm.motion.table import TableColumns, parse_table
from emotion_llm.runtime.errors import UserError
from tests.helpers.motion_examples import bvh_text, moving_body, random_skeleton, random_values

KINECT = read_layout("kinect_v2_25")
HANG_SECONDS = 30
"""A guard against readers that hang or take quadratic time, far above what any of these files takes on a slow machine."""
HOSTILE = (
    b"nan", b"-inf", b"1e999", b"-1e-999", b"1e308", b"99999999999999999999", b"0x1F", b"1_0", b"--", b"", b"{", b"}", b"{" * 50, b"\0",
    b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b"\t", b" " * 100, b",", b",,,,", b'"', b"#", b"JOINT", b"End Site", b"ROOT r {",
    b"CHANNELS 6", b"CHANNELS 99999999", b"OFFSET 1 2", b"MOTION", b"Frames: 1000000000000", b"Frames: -1", b"Frame Time: 0",
    b"Frame Time: 1e-9", b"(9999999, 9999999, 3)", b"'|O'", b"PK\x03\x04", b"\x80" * 8, b"1.5" * 30, b"HIERARCHY",
)  # fmt: skip


def sound_files(rng: np.random.Generator) -> list[tuple[str, bytes]]:
    """One small file of each format."""
    skeleton = random_skeleton(rng, joints=int(rng.integers(1, 8)))
    positions = moving_body(KINECT, seconds=float(rng.uniform(0, 0.2)), turning=float(rng.normal())).positions.round(3)
    rows = positions.reshape(len(positions), -1).tolist()
    header = ",".join(f"{joint}_{axis}" for joint in KINECT.joint_names for axis in "xyz") + "\n"
    array, archive = io.BytesIO(), io.BytesIO()
    np.save(array, positions)
    np.savez_compressed(archive, positions=positions)
    return [
        ("bvh", bvh_text(skeleton, random_values(rng, skeleton, frames=int(rng.integers(1, 5)))).encode()),
        ("table", (header + "\n".join(",".join(map(str, row)) for row in rows)).encode()),
        ("table", "\n".join(" ".join(map(str, row)) for row in rows).encode()),
        ("array", array.getvalue()),
        ("array", archive.getvalue()),
    ]


def mutated(rng: np.random.Generator, data: bytes) -> bytes:
    """The file after a few accidents, most often one."""
    for _ in range(rng.geometric(0.6)):
        begin = int(rng.integers(0, len(data) + 1))
        end = min(len(data), begin + int(rng.integers(0, 40)))
        accident = rng.integers(0, 8)
        if accident == 0 and begin < len(data):  # a bit flips
            data = data[:begin] + bytes([data[begin] ^ (1 << int(rng.integers(0, 8)))]) + data[begin + 1 :]
        elif accident == 1:  # a piece is lost
            data = data[:begin] + data[end:]
        elif accident == 2:  # a piece comes twice
            data = data[:end] + data[begin:]
        elif accident == 3:  # the end is lost
            data = data[: max(begin, 1)]
        elif accident == 4:  # noise
            data = data[:begin] + rng.bytes(int(rng.integers(1, 20))) + data[end:]
        elif accident == 5:  # two pieces change places
            middle = int(rng.integers(0, len(data) + 1))
            data = (
                data[middle:] + data[:middle]
                if rng.random() < 0.1
                else data[:begin] + data[end : end + 9] + data[begin:end] + data[end + 9 :]
            )
        else:  # something hostile takes the place of a word
            words = data.split(b" ")
            words[int(rng.integers(0, len(words)))] = HOSTILE[int(rng.integers(0, len(HOSTILE)))]
            data = b" ".join(words)
    return data


def some_columns(rng: np.random.Generator) -> TableColumns:
    choices = [
        {},
        {"pattern": None},
        {"stride": 4, "first": 1},
        {"time": 0, "first": 1},
        {"frame": 0},
        {"delimiter": ";"},
        {"decimal_comma": True},
        {"skip_lines": 1},
    ]
    return TableColumns(**choices[int(rng.integers(0, len(choices)))] if rng.random() < 0.3 else {})


def read(kind: str, data: bytes, columns: TableColumns) -> RecordedMotion | None:
    """What the reader makes of it; None where it refuses."""
    try:
        return {
            "bvh": lambda: parse_bvh(data, "clip"),
            "table": lambda: parse_table(data, columns, "clip"),
            "array": lambda: parse_array(data, columns, "clip"),
        }[kind]()
    except MotionFileError as refusal:
        message = str(refusal)
        assert message.startswith("clip: ") and len(message) < 900 and message.isprintable()
        return None


def survive(rng: np.random.Generator, kind: str, data: bytes) -> bool:
    """Reads the file and takes what was read as far as it goes; True where the file was read."""
    began = time.perf_counter()
    recorded = read(kind, data, some_columns(rng))
    if recorded is not None:
        frames, joints, axes = recorded.positions.shape
        assert frames > 0 and joints > 0 and axes == 3 and recorded.positions.dtype == np.float64
        assert not np.isinf(recorded.positions).any() and recorded.positions.nbytes < 200 * len(data) + 10_000
        assert recorded.frames_per_second is None or 0.9 < recorded.frames_per_second < 110_000
        assert recorded.joint_names is None or len(recorded.joint_names) == joints
        try:
            motion = to_motion(recorded, KINECT, 1.0, "xyz"[int(rng.integers(0, 3))], 30.0, "clip")
            assert all(isinstance(finding, str) for finding in check_clip(motion))
            assert np.isfinite(canonicalise(motion, CanonicalSettings()).positions).all()
        except UserError:
            pass
        with contextlib.suppress(UserError):
            infer_layout(recorded, "inferred")
    assert time.perf_counter() - began < HANG_SECONDS
    return recorded is not None


def fuzz(files: int, seed: int) -> tuple[int, int]:
    """Files read and files refused."""
    rng, done, accepted = np.random.default_rng(seed), 0, 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        while done < files:
            for kind, data in sound_files(rng):
                assert read(kind, data, TableColumns()) is not None
                for copy in [mutated(rng, data) for _ in range(15)] + [rng.bytes(int(rng.integers(0, 300)))]:
                    accepted += survive(rng, kind, copy)
                    done += 1
    return accepted, done - accepted


def test_only_the_readers_own_error_comes_out_of_damaged_files():
    accepted, refused = fuzz(files=800, seed=0)
    assert accepted > 30 and refused > 50  # the mutations reach both sides


@pytest.mark.slow
def test_only_the_readers_own_error_comes_out_of_twenty_thousand_damaged_files():
    accepted, refused = fuzz(files=20_000, seed=1)
    assert accepted > 1000 and refused > 1000


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("bvh", b" " * 1_000_000),
        ("bvh", b"HIERARCHY ROOT a {" + b" " * 1_000_000),
        ("bvh", b"{" * 300_000 + b"\nMOTION\nFrames: 1"),
        ("bvh", b"MOTION" + b"\n" * 1_000_000),
        ("bvh", b"HIERARCHY ROOT a { OFFSET 0 0 0 CHANNELS 1 Xrotation }\nMOTION\nFrames: 1\nFrame Time: .1\n" + b"9" * 1_000_000),
        ("bvh", b"HIERARCHY ROOT a { OFFSET 0 0 0 CHANNELS 1 Xrotation }\nMOTION\nFrames: 1\nFrame Time: .1\n" + b"1.5.5 " * 200_000),
        ("table", b" " * 1_000_000),
        ("table", b" " * 1_000_000 + b"x"),
        ("table", b"," * 300_000),
        ("table", (b"," + b" " * 1000) * 1000),
        ("table", b"#" * 1_000_000),
        ("table", b"a_x,a_y,a_z\n" + b"1,2,3\n" * 100_000 + b"1,2"),
        ("table", b"1e5 " * 200_000),
        ("array", b"\x93NUMPY\x01\x00\xff\xff{'descr': '<f8', 'shape': (" + b"(" * 65_000),
        ("array", b"PK" + b"\0" * 100_000),
    ],
)
def test_large_hostile_files_take_neither_long_nor_much_memory(kind, data):
    began = time.perf_counter()
    read(kind, data, TableColumns())
    assert time.perf_counter() - began < HANG_SECONDS
    tracemalloc.start()
    try:
        read(kind, data[:100_000], TableColumns())
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()
