"""Tables and arrays of joint positions, and the numbers in them."""

import io
import random
import re
import zipfile

import numpy as np
import pytest

from emotion_llm.motion.arrays import parse_array
from emotion_llm.motion.motion import MotionFileError
from emotion_llm.motion.reading import read_motion_file
from emotion_llm.motion.table import TableColumns, parse_table
from emotion_llm.motion.text import read_rows
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import validate_record

POSITIONS = np.random.default_rng(0).normal(size=(4, 2, 3)).round(4)
HEADER = [f"{joint}_{axis}" for joint in ("Head", "HandLeft") for axis in "xyz"]


def table(delimiter: str = ",", header: list[str] | None = None, rows: np.ndarray = POSITIONS) -> str:
    lines = [delimiter.join(header)] if header else []
    return "\n".join(lines + [delimiter.join(map(str, row)) for row in rows.reshape(len(rows), -1).tolist()]) + "\n"


def parse(text: str, **columns):
    return parse_table(text.encode(), TableColumns(**columns), "clip.csv")


# numbers


def test_every_number_is_read_exactly_as_float_reads_it():
    words = [
        "0",
        "-0",
        "+0.0",
        "1e22",
        "1e23",
        "9007199254740993",
        "123456789.123456789",
        ".5",
        "5.",
        "1e-400",
        "00012.50",
        "99999999.9999999",
    ]
    words += ["12345678.123456789012", "0.00000000000001", "-0.000108084", "5.1072e-06", "1e15", "1e16", "123456789e-3"]
    rng = random.Random(0)
    while len(words) < 20_000:
        whole, fraction, power = (
            "".join(rng.choices("0123456789", k=rng.randint(least, most))) for least, most in ((0, 10), (0, 18), (1, 2))
        )
        word = rng.choice(["", "-", "+"]) + whole + rng.choice(["", "."]) + fraction + rng.choice(["", "e", "E-", "e+"])
        word += power if word[-1:] in ("e", "-", "+") else ""
        if any(letter.isdigit() for letter in word.lower().split("e")[0]):
            words.append(word)
    regular = [word for word in words if word != "-0" and re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", word)]  # JSON's numbers
    assert 1_000 < len(regular) < 19_000
    for some in (words, regular):  # the slow path, the fast path
        expected = np.array([float(word) for word in some])
        expected[np.isinf(expected)] = np.nan
        rows, notes = read_rows("\n".join(some).encode(), "text", 1, 1, "one column")
        assert notes == []
        np.testing.assert_array_equal(rows[:, 0], expected)
        np.testing.assert_array_equal(np.signbit(rows[:, 0]), np.signbit(expected))


@pytest.mark.parametrize("word", [b"true", b"null", b'"1"', b"[1]", b"{}"])
def test_json_that_is_not_a_number_is_not_a_number(word):
    with pytest.raises(MotionFileError, match=r"f\.txt: line 2: '.*' is not a number"):
        read_rows(b"1 2\n3 " + word, "f.txt", 1, 2, "two columns")


def test_rows_that_only_add_up_to_the_right_count_are_refused():
    with pytest.raises(MotionFileError, match="line 1 holds 1 numbers where two columns"):
        read_rows(b"1\n2 3 4\n5 6\n", "f.txt", 1, 2, "two columns")


@pytest.mark.parametrize(
    "word", ["1.2.3", "--1", "1e", "e5", "1-2", "0x10", "1e5.0", ".", "-", "+.", "1_000", "1d5", "one", "½", "1e+", "nanx"]
)
def test_what_is_not_a_number_is_named_with_its_line(word):
    with pytest.raises(MotionFileError, match=r"f\.txt: line 12: '.*' is not a number"):
        read_rows(f"1 2\n3 4\n5 {word}\n".encode(), "f.txt", 10, 2, "two columns")


# tables


@pytest.mark.parametrize("delimiter", [",", ";", "\t", " ", ", "])
@pytest.mark.parametrize("header", [None, HEADER])
def test_any_usual_delimiter_and_a_header_or_none_are_found(delimiter, header):
    motion = parse(table(delimiter, header))
    assert motion.joint_names == (("Head", "HandLeft") if header else None) and motion.parents is None
    assert motion.frames_per_second is None and motion.notes == ()
    np.testing.assert_array_equal(motion.positions, POSITIONS)


def test_columns_go_by_their_names_wherever_they_stand():
    header = ["state", "HandLeft_Z", "Head_X", "HandLeft_X", "Head_Z", "HandLeft_Y", "Head_Y"]
    rows = np.concatenate([np.ones((4, 1)), POSITIONS.reshape(4, 6)[:, [5, 0, 3, 2, 4, 1]]], axis=1)
    motion = parse(table(",", header, rows))
    np.testing.assert_array_equal(motion.positions[:, [motion.joint_names.index("Head")]], POSITIONS[:, :1])
    one = parse(table(",", header, rows), joints=("HandLeft",))
    assert one.joint_names == ("HandLeft",) and np.array_equal(one.positions, POSITIONS[:, 1:])


@pytest.mark.parametrize(
    ("pattern", "name"), [("{joint}.position.{axis}", "Head.position.x"), ("{axis}({joint})", "X(Head)"), ("{joint}{axis}", "HeadX")]
)
def test_the_pattern_says_how_columns_are_named(pattern, name):
    header = [
        pattern.format(joint=joint, axis=name[0] if pattern[1] == "a" and axis == "x" else axis)
        for joint in ("Head", "Hand")
        for axis in "xyz"
    ]
    assert name.lower() == header[0].lower()
    assert parse(table(",", header), pattern=pattern).joint_names == ("Head", "Hand")


def test_columns_by_position_may_be_strided_shifted_and_in_any_order():
    rows = np.full((4, 2 + 2 * 7), 9.0)
    rows[:, 2:5], rows[:, 9:12] = POSITIONS[:, 0, ::-1], POSITIONS[:, 1, ::-1]
    motion = parse(table(",", None, rows), first=2, stride=7, axes="zyx", joints=("A", "B"))
    assert motion.joint_names == ("A", "B")
    np.testing.assert_array_equal(motion.positions, POSITIONS)
    np.testing.assert_array_equal(
        parse(table(",", [f"c{i}" for i in range(16)], rows), first=2, stride=7, axes="zyx", pattern=None).positions, POSITIONS
    )


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("# recorded in May\n" + table(), {}),
        ("units m\nframes 4\n" + table(",", HEADER), {"skip_lines": 2}),
        (table().replace("\n", ",\n"), {}),
        (table(",", HEADER).replace("\n", ",\n"), {}),
        ("\ufeff" + table().replace("\n", "\r\n"), {}),
        (table(";").replace(".", ","), {"decimal_comma": True}),
        ("\n".join(",".join(f'"{value}"' for value in line.split(",")) for line in table(",", HEADER).splitlines()), {}),
        ("\n\n  \n" + table(), {}),
    ],
    ids=["comment", "lines to skip", "last delimiter", "last delimiter, header", "BOM, CRLF", "decimal comma", "quotes", "blank lines"],
)
def test_oddities_of_writing_change_nothing(text, columns):
    motion = parse(text, **columns)
    np.testing.assert_array_equal(motion.positions, POSITIONS)
    assert motion.notes == ()


@pytest.mark.parametrize("mark", ["", "NA", "nan", "NaN", "null", "-9999", " "])
@pytest.mark.parametrize("column", [0, 2, 5])
def test_a_missing_value_is_nan_and_nothing_moves_into_its_place(mark, column):
    rows = POSITIONS.reshape(4, 6).astype(str)
    rows[1, column] = mark
    motion = parse("\n".join(",".join(row) for row in rows), missing=(*TableColumns().missing, "-9999"))
    expected = POSITIONS.reshape(4, 6).copy()
    expected[1, column] = np.nan
    np.testing.assert_array_equal(motion.positions.reshape(4, 6), expected)


def test_even_time_stamps_give_the_rate():
    rows = np.concatenate([np.arange(4)[:, None] * 8 + 1000, POSITIONS.reshape(4, 6)], axis=1)
    motion = parse(table(",", ["time", *HEADER], rows), time="time", seconds_per_tick=0.001)
    assert motion.frames_per_second == pytest.approx(125) and motion.notes == ()
    np.testing.assert_array_equal(motion.positions, POSITIONS)
    assert parse(table(" ", None, rows), time=0, first=1, seconds_per_tick=0.001).frames_per_second == pytest.approx(125)


def test_uneven_time_stamps_are_put_in_even_time_and_lost_frames_are_missing():
    frames = np.array([0, 1, 2.1, 2.95, 4, 8, 8, 9])
    x = frames * 10
    rows = np.stack([frames / 30, x, -x, 0 * x], axis=1)
    motion = parse(table(",", ["t", "A_x", "A_y", "A_z"], rows), time="t")
    assert (
        motion.frames_per_second == pytest.approx(30, rel=0.01) and len(motion.notes) == 1 and "3 frames of 10 missing" in motion.notes[0]
    )
    even = motion.positions[:, 0, 0]
    assert np.flatnonzero(np.isnan(even)).tolist() == [5, 6, 7]
    np.testing.assert_allclose(np.diff(even[:5]), 10, rtol=0.02)  # constant speed is constant again


@pytest.mark.parametrize("steps", [[30, 30, 40], [26, 40, 34], [25, 26, 49], [25, 41, 25, 42, 25, 42]], ids=str)
def test_time_stamps_with_jitter_give_the_mean_rate_and_constant_speed(steps):
    """Their mean is 33.3 ms and no frame is missing."""
    stamps = np.concatenate([[0], np.cumsum(np.tile(steps, 120 // len(steps)))]) + 5000.0
    rows = np.stack([stamps, stamps / 1000, -stamps / 500, 0 * stamps], axis=1)
    motion = parse(table(",", ["t", "A_x", "A_y", "A_z"], rows), time="t", seconds_per_tick=0.001)
    assert motion.frames_per_second == pytest.approx(30, rel=1e-9) and len(motion.positions) == 121
    assert motion.notes == ("time stamps are uneven: 121 rows resampled to even time, 0 frames of 121 missing",)
    np.testing.assert_allclose(motion.positions[:, 0, 0], 5 + np.arange(121) / 30, rtol=1e-9)
    np.testing.assert_allclose(motion.positions[:, 0, 1], -10 - np.arange(121) / 15, rtol=1e-9)


def test_rounded_time_stamps_do_not_change_the_frames():
    stamps = np.round(np.arange(100) * 1000 / 120)
    rows = np.concatenate([stamps[:, None], np.random.default_rng(1).normal(size=(100, 3))], axis=1)
    motion = parse(table(",", ["t", "A_x", "A_y", "A_z"], rows), time="t", seconds_per_tick=0.001)
    assert motion.frames_per_second == pytest.approx(120, rel=1e-3) and motion.notes == ()
    np.testing.assert_array_equal(motion.positions[:, 0], rows[:, 1:])


@pytest.mark.parametrize("name", ["Time", "time (s)", "TimeStamp", "relative_time", "ms", "Frame", "frame_number", "t"])
def test_a_column_that_is_called_like_time_but_not_used_is_noted(name):
    rows = np.concatenate([np.zeros((4, 1)), POSITIONS.reshape(4, 6)], axis=1)
    (note,) = parse(table(",", [name, *HEADER], rows)).notes
    assert (
        note == f"column '{name}' looks like time stamps but is not used; set columns.time and columns.seconds_per_tick, or columns.frame"
    )
    assert parse(table(",", ["state", *HEADER], rows)).notes == ()
    assert parse(table(",", [name, *HEADER], rows), joints=("Head",)).notes == (note,)


def test_a_column_that_grows_evenly_but_is_not_used_is_noted():
    rows = np.concatenate([np.arange(4)[:, None] * 8 + 1000, POSITIONS.reshape(4, 6)], axis=1)
    assert parse(table(" ", None, rows), first=1).notes[0].startswith("column '0' looks like time stamps but is not used")
    assert parse(table(" ", None, rows), first=1, frame=0).notes == ()
    assert parse(table(",", ["clock", *HEADER], rows)).notes[0].startswith("column 'clock' looks like time stamps")


def test_frame_numbers_show_dropped_frames():
    rows = np.concatenate([np.array([[7], [8], [11], [12]]), POSITIONS.reshape(4, 6)], axis=1)
    motion = parse(table(",", ["frame", *HEADER], rows), frame="frame")
    assert len(motion.positions) == 6 and motion.frames_per_second is None
    assert np.isnan(motion.positions[2:4]).all() and np.array_equal(motion.positions[[0, 1, 4, 5]], POSITIONS)


def test_a_last_row_that_is_cut_short_is_dropped_and_noted():
    motion = parse(table()[:-12])
    assert len(motion.positions) == 3 and motion.notes[0].startswith("the last row is cut short after")


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("", {}, "clip.csv: the file is empty"),
        ("# only\n# comments\n", {}, "no row of numbers; check columns.skip_lines and columns.comment"),
        ("0," * 16_001 + "0\n", {}, "its first line has 16002 columns, more than 16000; it needs a row per frame"),
        (",".join(HEADER) + "\n", {}, "no complete row of numbers where the header has 6 columns"),
        (table(",", ["a", "b", "c", "d", "e", "f"]), {}, "its header names no joint; the columns are a, b, c"),
        (table(",", [*HEADER[:5], "HandLeft_w"]), {}, "names no x, y and z of 'HandLeft'"),
        (table(",", HEADER), {"joints": ("Foot",)}, "names no x, y and z of 'Foot'"),
        (table(), {"first": 1}, "its 6 columns do not hold whole joints from column 1 on, 3 columns each; set columns.first, columns.stride"),
        (table(), {"joints": ("a", "b", "c")}, "do not hold 3 joints"),
        (table() + "1,2\n3,4\n", {}, "line 5 holds 2 numbers where the first row has 6 columns"),
        (table().replace("\n", ",7\n", 2).replace(",7", "", 1), {}, "line 2 holds 7 numbers"),
        (table() + "1,2,3,4,five,6\n", {}, "line 5: 'five' is not a number"),
        (table(",", HEADER), {"time": "stamp"}, "has no column 'stamp' but 6: Head_x"),
        (table(), {"time": 6}, "has no column 6 but 6: without names"),
        (table(",", HEADER, -np.sort(POSITIONS, axis=0)), {"time": "Head_x"}, r"does not grow from row to row \(row 2\); correct columns.time"),
        (table(",", HEADER, np.arange(24.0).reshape(4, 2, 3)), {"time": "Head_x"}, "says 0.166667 frames per second; set columns.seconds_per_tick"),
        ("t,A_x,A_y,A_z\n0,1,1,1\n1,1,1,1\n2,1,1,1\n900,1,1,1", {"time": "t"}, "time stamps have gaps of up to 898 frames; cut the"),
        (table(";").replace(".", ","), {}, "numbers such as '.*,.*' have a decimal comma; set columns.decimal_comma"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_words(text, columns, message):
    with pytest.raises(MotionFileError, match=message):
        parse(text, **columns)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"delimiters": ","}, "corpus.json: field 'delimiters' is not a known field; known fields: delimiter, decimal_comma"),
        ({"delimiter": ",,"}, "corpus.json: field 'delimiter' is ',,'; use ',' ';'"),
        ({"delimiter": ["x"]}, "'delimiter' is .*; use ','"),
        ({"pattern": "{joint}"}, "'pattern' is '{joint}'; it must contain {joint} and {axis} once each"),
        ({"pattern": 3}, "'pattern' is '3'; must be text"),
        ({"joints": ["A", "A"]}, "'joints' is .*; joint names must differ"),
        ({"joints": "Head"}, "'joints' is 'Head'; must be a list"),
        ({"stride": 2}, "'stride' is '2'; give the columns from one joint to the next"),
        ({"first": -1}, "'first' is '-1'; must be at least 0"),
        ({"axes": "xxz"}, "'axes' is 'xxz'; must be one of 'xyz', 'xzy'"),
        ({"time": -1}, "'time' is '-1'; give the name of a column"),
        ({"frame": True}, "'frame' is 'True'; give the name"),
        ({"seconds_per_tick": 0}, "'seconds_per_tick' is '0'; give seconds per unit"),
        ({"skip_lines": 1.5}, "'skip_lines' is '1.5'"),
        ({"missing": "NA"}, "'missing' is 'NA'; must be a list"),
        ({"decimal_comma": 1}, "'decimal_comma' is '1'; must be true or false"),
        ({"comment": None}, "'comment' is 'None'; must be text"),
        ({"array": 0}, "'array' is '0'; must be text"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused_in_words(metadata, message):
    with pytest.raises(UserError, match=message):
        validate_record(TableColumns, metadata, "corpus.json")


def test_settings_come_from_json():
    columns = validate_record(TableColumns, {"joints": ["A", "B"], "stride": 7, "time": "t", "seconds_per_tick": 1}, "corpus.json")
    assert columns == TableColumns(joints=("A", "B"), stride=7, time="t", seconds_per_tick=1)


# arrays


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize("kind", [np.float64, np.float32, ">f8", np.float16, np.int32])
def test_arrays_of_any_plain_number_are_read(kind):
    array = (POSITIONS * 100).astype(kind)
    for data in (
        npy(array),
        npy(np.asfortranarray(array)),
        npz(positions=array, rate=np.array(30)),
        npz(anything=array),
        npy(array.reshape(4, 6)),
    ):
        motion = parse_array(data, TableColumns(), "clip.npz")
        np.testing.assert_array_equal(motion.positions, array.astype(np.float64))
        assert motion.joint_names is None and motion.frames_per_second is None


def test_a_fourth_coordinate_is_passed_over_and_inf_is_missing():
    array = np.concatenate([POSITIONS, np.ones((4, 2, 1))], axis=2)
    array[0, 0, 0] = np.inf
    motion = parse_array(npy(array), TableColumns(joints=("A", "B")), "clip.npy")
    assert motion.joint_names == ("A", "B") and np.isnan(motion.positions[0, 0, 0])
    np.testing.assert_array_equal(motion.positions[1:], POSITIONS[1:])


def declared(shape: str, descr: str = "<f8", body: bytes = b"\0" * 48) -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + body


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"not a NumPy array \(EOF: reading magic string.*\); write it with numpy.save"),
        (b"\x93NUMPY\x01\x00", "not a NumPy array"),
        (declared("(1, 2, 3)", "|O"), r"its array holds object \(1, 2, 3\), not rows of numbers; save positions as float32"),
        (npy(np.array([{"a": 1}], dtype=object)), "holds object"),
        (npy(np.array(["text"])), "holds <U4"),
        (declared("(999999999, 999, 3)"), "declares 23975999976024 bytes of numbers, 48 follow"),
        (declared("(1, 2, 4)"), "declares 64 bytes of numbers, 48 follow"),
        (declared("(0, 2, 3)", body=b""), "holds no frame"),
        (declared("()", body=b"\0" * 8), r"holds float64 \(\), not rows of numbers"),
        (declared("(1, 2 3)"), "not a NumPy array .Cannot parse header"),
        (declared("(1, 2, 3)", "<f1"), "not a NumPy array .descr is not a valid dtype"),
        (npy(np.ones(6)), r"has the shape \(6,\); save positions as \(frames, joints, 3\)"),
        (npy(np.ones((40, 3, 2))), r"has the shape \(40, 3, 2\); save positions as .*: numpy.transpose\(array, \(0, 2, 1\)\)"),
        (npy(np.ones((3, 2, 40))), r"has the shape \(3, 2, 40\); save positions as .*: numpy.transpose\(array, \(2, 1, 0\)\)"),
        (npy(np.ones((3, 40, 2))), r"numpy.transpose\(array, \(1, 2, 0\)\)"),
        (npy(np.ones((2, 3, 40))), r"numpy.transpose\(array, \(2, 0, 1\)\)"),
        (npy(np.ones((4, 2, 2))), r"has the shape \(4, 2, 2\); save positions as \(frames, joints, 3\), or a table"),
        (npy(np.ones((1, 1001, 3))), r"has the shape \(1, 1001, 3\)"),
        (npy(np.ones((4, 7))), "its 7 columns do not hold whole joints"),
        (npz(a=POSITIONS, b=POSITIONS), "holds no array 'positions' but a, b; set columns.array"),
        (npz(), "holds no array 'positions' but none"),
        (npz(positions=POSITIONS)[:90], "a damaged .npz file"),
        (npz(positions=np.zeros((40_000, 2, 3))), "over 100 times larger than the file"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_read_are_refused_in_words(data, message):
    with pytest.raises(MotionFileError, match=message):
        parse_array(data, TableColumns(), "clip.npy")


def test_an_encrypted_or_unknown_compression_is_refused():
    data = bytearray(npz(positions=POSITIONS))
    data[8] = data[data.rindex(b"PK\x01\x02") + 10] = 99  # compression method
    with pytest.raises(MotionFileError, match=r"a damaged \.npz file"):
        parse_array(bytes(data), TableColumns(), "clip.npz")
    assert zipfile.is_zipfile(io.BytesIO(bytes(data)))


# dispatch


def test_the_ending_of_a_file_says_its_format(tmp_path):
    (tmp_path / "a.CSV").write_text(table(",", HEADER))
    (tmp_path / "a.txt").write_text(table(" "))
    np.save(tmp_path / "a.npy", POSITIONS)
    np.savez(tmp_path / "a.npz", positions=POSITIONS)
    for name in ("a.CSV", "a.txt", "a.npy", "a.npz"):
        np.testing.assert_array_equal(read_motion_file(tmp_path / name).positions, POSITIONS)
    with pytest.raises(
        MotionFileError, match=r"a\.c3d: '\.c3d' is not the extension of a motion file; export the motion as one of \.bvh, \.csv"
    ):
        read_motion_file(tmp_path / "a.c3d")
    with pytest.raises(MotionFileError, match=r"gone\.csv: cannot be read"):
        read_motion_file(tmp_path / "gone.csv")
