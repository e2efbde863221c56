"""What a path becomes, on trees and names as the corpora have them; no motion file is read here."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import regex

from emotion_llm.corpus.definition import read_definition
from emotion_llm.corpus.scan import scan_source
from emotion_llm.runtime.errors import UserError


def labels(scan) -> dict[str, tuple]:
    return {file.name.split("/")[-1]: (file.emotion, file.actor, file.action, file.take) for file in scan.files}


def reasons(scan) -> dict[str, str]:
    return {item.path.split("/")[-1]: item.reason for item in scan.left_out}


def kdae_table(*names: str) -> str:
    emotions = {"A": "Angry", "D": "Disgust", "F": "Fearful", "H": "Happy", "N": "Neutral", "SA": "Sad", "SU": "Surprise"}
    rows = [f"{name},{name[:3]},{emotions[name[3:].rstrip('0123456789V')[:2].rstrip('0123456789')]},x" for name in names]
    return "\n".join(["filename,actor_ID,emotion,gender", *rows])


def test_kdae_names_are_read_with_their_two_letter_emotions(write_files):
    names = ["F01A0V1", "M03SU4V1", "F11SA5V1", "M11F2V2", "F02D1V1", "M05H2V3", "F09N0V10"]
    source = write_files("kdae", {f"BVH/{name[:3]}/{name}.bvh": "" for name in names} | {"file-info.csv": kdae_table(*names)})
    assert labels(scan_source(read_definition("kdae"), source)) == {
        "F01A0V1": ("anger", "F01", "scenario 0", 1),
        "M03SU4V1": ("surprise", "M03", "scenario 4", 1),
        "F11SA5V1": ("sadness", "F11", "scenario 5", 1),
        "M11F2V2": ("fear", "M11", "scenario 2", 2),
        "F02D1V1": ("disgust", "F02", "scenario 1", 1),
        "M05H2V3": ("happiness", "M05", "scenario 2", 3),
        "F09N0V10": ("neutral", "F09", "scenario 0", 10),
    }


def test_kdae_files_outside_the_table_are_left_out_by_rule_and_rows_without_file_are_reported(write_files):
    actors = [f"{sex}{number:02}" for sex in "FM" for number in range(1, 12)]
    names = [f"{actor}{code}{scenario}V1" for actor in actors for code in ("A", "D", "F", "H", "N", "SA", "SU") for scenario in range(10)][
        :1407
    ]
    table = kdae_table(*names[:1401], "F01A77V1")
    scan = scan_source(read_definition("kdae"), write_files("kdae", {f"BVH/{n[:3]}/{n}.bvh": "" for n in names} | {"file-info.csv": table}))
    assert len(scan.files) == 1401
    assert [item.reason for item in scan.left_out] == ["not in file-info.csv"] * 6
    assert all(item.by_rule for item in scan.left_out)
    assert scan.missing == ("file-info.csv: no file for its row 'F01A77V1'",)


def test_a_path_and_a_table_that_disagree_are_not_believed(write_files):
    table = "filename;emotion;actor_ID\nF01A0V1;Happy;F01\nF01A1V1;Glee;F01\nF01A2V1;;F01\n"
    source = write_files("kdae", {f"BVH/F01/F01A{n}V1.bvh": "" for n in range(3)} | {"file-info.csv": table})
    scan = scan_source(read_definition("kdae"), source)
    assert reasons(scan) == {
        "F01A0V1.bvh": "the path says emotion 'anger', file-info.csv says 'happiness'; correct one of the two",
        "F01A1V1.bvh": "unknown emotion 'Glee' in file-info.csv; add it to 'labels' of the definition, or a skip rule",
    }
    assert not any(item.by_rule for item in scan.left_out)
    assert labels(scan) == {"F01A2V1": ("anger", "F01", "scenario 2", 1)}


def test_emilya_is_read_in_both_trees_with_twelve_actor_folders_and_without_its_duplicates(write_files):
    new = {f"All_BvH_Files/KD/Panic Fear/Actor{n}/PF1KD2_Actor{n}.bvh": "" for n in range(1, 13)}
    files = new | {
        "All_BvH_Files/SW/Neutral/Actor1/Nt3SW1_Actor1.bvh": "",
        "All_BvH_Files/SW/Neutral/Actor1/Nt3SW1_Actor1zyx.bvh": "",
        "All_BvH_Files/SDBS/Neutral/Actor1/Nt3SDBS1_Actor1.bvh": "",
        "All_BvH_Files/SW/Neutral/Actor1/.DS_Store": "",
        "Simple Walking/Shame/Anna/segment 7.bvh": "",
        "Moving Books/PanicFear/Maria/segment 8.bvh": "",
    }
    scan = scan_source(read_definition("emilya"), write_files("emilya", files))
    found = labels(scan)
    assert len(scan.files) == 15
    assert {file.actor for file in scan.files} == {*(f"Actor{n}" for n in range(1, 13)), "Anna", "Maria"}
    assert found["PF1KD2_Actor12"] == ("panic fear", "Actor12", "knocking at the door", 2)
    assert found["Nt3SW1_Actor1"] == ("neutral", "Actor1", "simple walking", 1)
    assert found["segment 7"] == ("shame", "Anna", "simple walking", -1)
    assert found["segment 8"] == ("panic fear", "Maria", "moving books", -1)
    assert reasons(scan) == {
        "Nt3SW1_Actor1zyx.bvh": "a second export of the same recording (*zyx.bvh)",
        "Nt3SDBS1_Actor1.bvh": "not one of the corpus's eight actions",
    }


def test_emilya_may_be_pointed_at_from_inside_its_tree(write_files):
    source = write_files("emilya", {"All_BvH_Files/BS/Joy/Actor3/Jy2BS1_Actor3.bvh": ""})
    assert labels(scan_source(read_definition("emilya"), source / "All_BvH_Files"))["Jy2BS1_Actor3"] == ("joy", "Actor3", "being seated", 1)


def test_egbm_takes_a_flat_folder_or_a_tree(write_files):
    scan = scan_source(read_definition("egbm"), write_files("egbm", {"P03_Surprised_2.csv": "", "P1/Sad/rec_04.txt": "", "readme.txt": ""}))
    assert labels(scan) == {"P03_Surprised_2": ("surprise", "P03", None, 2), "rec_04": ("sadness", "P1", None, 4)}


def test_bandai_namco_keeps_the_emotional_styles_of_its_first_archive_and_all_of_its_second(write_files):
    first = write_files(
        "one", {f"dataset-1_walk_{style}_001.bvh": "" for style in ("angry", "not-confident", "old", "masculinity")} | {"LICENSE": ""}
    )
    scan = scan_source(read_definition("bandai-namco-1"), first)
    assert labels(scan)["dataset-1_walk_not-confident_001"] == ("lack of confidence", None, "walk", 1)
    assert set(reasons(scan).values()) == {"its style is a way of moving, not an emotion"}
    second = write_files("two", {"dataset-2_raise-up-both-hands_youthful_011.bvh": ""})
    scan = scan_source(read_definition("bandai-namco-2"), second)
    assert labels(scan)["dataset-2_raise-up-both-hands_youthful_011"] == ("youthful", None, "raise-up-both-hands", 11)


def test_descriptions_reach_their_clips_by_path_or_stem_and_unknown_files_are_reported(write_files):
    texts = (
        'file,text\nA_Sad_1,"He  bows, slowly."\nsub/B_Happy_2.csv,She jumps.\nA_Sad_1.csv,He sinks.\nC_Sad_9.csv,Nobody.\nD_Sad_3,Which?\n'
    )
    files = ["A_Sad_1.csv", "sub/B_Happy_2.csv", "sub/D_Sad_3.csv", "other/D_Sad_3.csv"]
    source = write_files("egbm", dict.fromkeys(files, "") | {"descriptions.csv": texts})
    scan = scan_source(read_definition("egbm"), source)
    assert {file.path: file.texts for file in scan.files if file.texts} == {
        "A_Sad_1.csv": ("He bows, slowly.", "He sinks."),
        "sub/B_Happy_2.csv": ("She jumps.",),
    }
    assert scan.missing == (
        "descriptions.csv line 5: no files are named 'C_Sad_9'; give the path of the one that is meant",
        "descriptions.csv line 6: 2 files are named 'D_Sad_3'; give the path of the one that is meant",
    )


def test_files_that_cannot_be_labelled_are_left_out_with_the_reason(write_files):
    source = write_files("egbm", {"A_Sad_1.csv": "", "A_Sad_1.txt": "", "nonsense.csv": "", "B_Bored_1.csv": "", "B_Sad_99999.csv": ""})
    assert reasons(scan_source(read_definition("egbm"), source)) == {
        "A_Sad_1.txt": "A_Sad_1.csv already has the clip name 'A_Sad_1'; rename one of the two",
        "nonsense.csv": "its path matches none of the definition's patterns; rename it, or add a pattern or a skip rule",
        "B_Bored_1.csv": "unknown emotion 'Bored' in the path; add it to 'labels' of the definition, or a skip rule",
        "B_Sad_99999.csv": "take '99999' is not a number from 0 to 32767; correct the pattern or the name",
    }


def test_links_that_lead_out_of_the_source_and_names_that_cannot_be_printed_are_refused(write_files, tmp_path):
    outside = write_files("outside", {"A_Sad_7.csv": ""})
    source = write_files("egbm", {"A_Sad_1.csv": "", "deep/A_Sad_3.csv": ""})
    (source / "A_Sad_2.csv").symlink_to(outside / "A_Sad_7.csv")
    (source / "A_Sad_4.csv").symlink_to(source / "deep" / "A_Sad_3.csv")
    (source / "far").symlink_to(outside)
    (source / "A_Sad_5.csv").mkdir()
    os.mkfifo(source / "A_Sad_6.csv")
    (source / "A\x1b[2J_Sad_8.csv").write_text("")
    with open(os.fsencode(source) + b"/\xff_Sad_9.csv", "w"):  # noqa: PTH123 - a name that is no UTF-8
        pass
    scan = scan_source(read_definition("egbm"), source)
    assert [file.path for file in scan.files] == ["A_Sad_1.csv", "A_Sad_4.csv", "deep/A_Sad_3.csv"]
    assert reasons(scan) == {
        "A_Sad_2.csv": "a symbolic link that points outside the source folder; put the file itself there",
        "far": "a symbolic link to a folder is not followed; name the real folder with --source",
        "A_Sad_6.csv": "not a regular file; remove it",
        "A\\x1b[2J_Sad_8.csv": "a name with characters that cannot be printed; rename it",
        "\\udcff_Sad_9.csv": "a name with characters that cannot be printed; rename it",
    }


def test_the_source_may_itself_be_a_link(write_files, tmp_path):
    source = write_files("egbm", {"A_Sad_1.csv": ""})
    (tmp_path / "link").symlink_to(source)
    assert len(scan_source(read_definition("egbm"), tmp_path / "link").files) == 1


@pytest.mark.parametrize(
    ("corpus", "files", "message"),
    [
        (
            "kdae",
            {"file-info.csv": "filename,emotion\n"},
            r"no file matches BVH/\*.bvh, found 1 other files; is this the folder of 'kdae'\? https",
        ),
        ("emilya", {}, r"no file matches \*.bvh, found no files; is this the folder of 'emilya'"),
        ("kdae", {"BVH/F01/F01A0V1.bvh": ""}, r"file-info.csv: no such file; 'kdae' needs it beside the motion files"),
        (
            "kdae",
            {"BVH/F01/F01A0V1.bvh": "", "file-info.csv": "name,emotion\n"},
            "has no column 'filename'; its columns are name, emotion; correct",
        ),
        (
            "kdae",
            {"BVH/F01/F01A0V1.bvh": "", "file-info.csv": "filename,emotion\na,b\nc\n"},
            "file-info.csv line 3: 1 values under 2 columns",
        ),
        (
            "kdae",
            {"BVH/B.bvh": "", "file-info.csv": "filename,emotion\na,Sad\na,Happy\n"},
            "line 3: 'a' has another row with other labels",
        ),
        ("egbm", {"A_Sad_1.csv": "", "descriptions.csv": "file,text\nA_Sad_1,\n"}, "descriptions.csv line 2: needs both a file and a text"),
        (
            "egbm",
            {"A_Glum_1.csv": "", "B_Glum_1.csv": ""},
            r"all 2 motion files are left out; 1 of them, such as .*unknown emotion|all 2 .*2 of them.*Glum",
        ),
    ],
)
def test_a_source_that_cannot_be_imported_is_refused_in_one_line(write_files, tmp_path, corpus, files, message):
    (tmp_path / "source").mkdir()
    with pytest.raises(UserError, match=message) as refusal:
        scan_source(read_definition(corpus), write_files("source", files))
    assert "\n" not in str(refusal.value)


def test_a_source_that_is_not_there_is_said():
    with pytest.raises(UserError, match="nowhere: no such folder; --source names the folder that holds the files of 'kdae'"):
        scan_source(read_definition("kdae"), Path("nowhere"))


def test_a_folder_that_may_not_be_listed_is_said(write_files, monkeypatch):
    source = write_files("egbm", {"A_Sad_1.csv": "", "closed/A_Sad_2.csv": ""})
    really = os.scandir

    def scandir(folder):
        if str(folder).rstrip("/").endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return really(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match="closed: cannot be listed \\(Permission denied\\); correct its permissions"):
        scan_source(read_definition("egbm"), source)


def test_a_table_that_is_no_text_is_refused(write_files):
    source = write_files("kdae", {"BVH/F01/F01A0V1.bvh": ""})
    (source / "file-info.csv").write_bytes(b"filename,emotion\n\xff\xfe,x\n")
    with pytest.raises(UserError, match=r"file-info.csv: not a CSV file in UTF-8"):
        scan_source(read_definition("kdae"), source)


def test_a_pattern_that_takes_exponential_time_is_refused_by_name(write_files):
    definition = replace(read_definition("egbm"), patterns=(regex.compile(r"(?P<emotion>(a|aa)+)!"),))
    source = write_files("egbm", {f"{'a' * 40}.csv": ""})
    begin = time.process_time()
    with pytest.raises(
        UserError, match=r"pattern '.*\(a\|aa\)\+\)!' takes more than 1 s for the path a+.csv; simplify it: a repetition inside"
    ):
        scan_source(definition, source)
    assert time.process_time() - begin < 10


def test_links_that_lead_to_themselves_are_left_out_with_their_reason(write_files):
    source = write_files("egbm", {"A_Sad_1.csv": ""})
    (source / "B_Sad_2.csv").symlink_to(source / "B_Sad_2.csv")
    (source / "C_Sad_3.csv").symlink_to(source / "nowhere.csv")
    (source / "loop").symlink_to(source)
    found = reasons(scan_source(read_definition("egbm"), source))
    assert found["B_Sad_2.csv"] == found["C_Sad_3.csv"] == "a symbolic link that is broken or points to itself; remove it"
    assert "a symbolic link to a folder is not followed" in found["loop"]


def test_control_characters_of_side_tables_are_escaped(write_files):
    table = "filename,actor_ID,emotion\nF01A0V1,F01,\x1b[31mglee\nF01A1V1,F01\x1b[2J,Angry\n"
    source = write_files("kdae", {f"BVH/F01/F01A{n}V1.bvh": "" for n in range(2)} | {"file-info.csv": table})
    said = reasons(scan_source(read_definition("kdae"), source))["F01A0V1.bvh"]
    assert said.isprintable() and "unknown emotion '\\x1b[31mglee'" in said
