from __future__ import annotations

import shutil
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from toy import LABELS, Picture, write_csv, write_folder

from edgefer.errors import DataError
from train.data import FERPLUS_COLUMNS, Split, audit, faces, ferplus_majority, find_ferplus, load, load_ferplus, targets


def by_row(data_split: object) -> dict[int, tuple[int, bytes]]:
    split = data_split
    return {int(row): (int(label), image.tobytes()) for row, label, image in zip(split.rows, split.labels, split.images, strict=True)}  # type: ignore[attr-defined]


def test_the_folder_the_zip_and_the_csv_give_the_same_pictures(folder: Path, zipped: Path, table: Path) -> None:
    first, *others = (load(path, LABELS) for path in (folder, zipped, table))
    assert {name: len(split) for name, split in first.splits.items()} == {"train": 168, "validation": 42}
    for other in others:
        for name, split in first.splits.items():
            assert by_row(split) == by_row(other.splits[name])


def test_a_folder_that_holds_only_the_csv_is_read_as_the_csv(table: Path, tmp_path: Path) -> None:
    shutil.copy(table, tmp_path / "fer2013.csv")
    assert len(load(tmp_path, LABELS).splits["train"]) == 168


def test_kaggles_other_table_with_its_spaces_and_order_is_read_too(table: Path, tmp_path: Path) -> None:
    lines = table.read_text().splitlines()
    cells = [line.split(",") for line in lines[1:]]
    other = tmp_path / "icml_face_data.csv"
    other.write_text("emotion, Usage, pixels\n" + "\n".join(f"{e},{usage},{pixels}" for e, pixels, usage in cells))
    assert by_row(load(other, LABELS).splits["train"]) == by_row(load(table, LABELS).splits["train"])


def test_the_label_is_the_index_in_the_given_labels(folder: Path) -> None:
    train = load(folder, LABELS).splits["train"]
    for name, label in zip(train.names, train.labels, strict=True):
        assert Path(name).parent.name == LABELS[label]


def test_the_folder_upset_of_the_report_is_disgust(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "report")
    (tmp_path / "report/train/disgust").rename(tmp_path / "report/train/upset")
    counts = np.bincount(load(tmp_path / "report", LABELS).splits["train"].labels, minlength=7)
    assert counts[LABELS.index("disgust")] == 24


def test_a_folder_with_only_train_and_test_is_read_with_a_warning(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "kaggle")
    (tmp_path / "kaggle/validation").rename(tmp_path / "kaggle/test")
    data = load(tmp_path / "kaggle", LABELS)
    assert len(data.splits["validation"]) == 42
    assert any("not comparable" in line for line in audit(data).lines)


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def refused(path: Path) -> str:
    with pytest.raises(DataError) as raised:
        load(path, LABELS)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_missing_dataset_says_where_to_get_it(tmp_path: Path) -> None:
    assert "Kaggle" in refused(tmp_path / "none.zip")
    assert "Kaggle" in refused(tmp_path)


def test_an_unknown_class_folder_is_named(copied: Path) -> None:
    (copied / "train/fear").rename(copied / "train/boredom")
    assert "train/boredom" in refused(copied)


def test_a_corrupt_picture_is_named(copied: Path) -> None:
    bad = copied / "train/happy/fer0000000.png"
    bad.parent.mkdir(exist_ok=True)
    content = next((copied / "train/happy").glob("*.png")).read_bytes()
    bad.write_bytes(content[: len(content) // 2])
    assert "train/happy/fer0000000.png" in refused(copied)


def test_pictures_of_another_size_are_scaled_and_counted_and_those_of_absurd_size_named(copied: Path) -> None:
    cv2.imwrite(str(copied / "train/sad/big.png"), np.zeros((96, 120), np.uint8))
    data = load(copied, LABELS)
    assert len(data.splits["train"]) == 169
    assert any("1 pictures are not 48x48" in line for line in audit(data).lines)
    cv2.imwrite(str(copied / "train/sad/long.png"), np.zeros((48, 480), np.uint8))
    message = refused(copied)
    assert all(fact in message for fact in ("train/sad/long.png", "48x48", "480x48"))


def test_a_picture_outside_every_split_is_named(copied: Path) -> None:
    shutil.move(copied / "train/sad", copied / "sad")
    assert "sad/fer" in refused(copied)


@pytest.mark.parametrize("share", [0.2, 0.9, 0.999])
def test_a_truncated_zip_is_named(zipped: Path, tmp_path: Path, share: float) -> None:
    content = zipped.read_bytes()
    short = tmp_path / "short.zip"
    short.write_bytes(content[: int(len(content) * share)])
    assert "short.zip" in refused(short)


def test_a_flipped_bit_in_a_zip_is_noticed(zipped: Path, tmp_path: Path) -> None:
    content = bytearray(zipped.read_bytes())
    content[len(content) // 3] ^= 255
    (tmp_path / "bad.zip").write_bytes(bytes(content))
    assert "bad.zip" in refused(tmp_path / "bad.zip")


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        (lambda cells: [cells[0], "1 2 3", cells[2]], ("2304", "found 3")),
        (lambda cells: ["9", *cells[1:]], ("emotion 9", "0..6")),
        (lambda cells: ["x", *cells[1:]], ()),
        (lambda cells: [*cells[:2], "Practice"], ("'Practice'",)),
        (lambda cells: cells[:2], ("3 columns", "found 2")),
        (lambda cells: [cells[0], cells[1].replace(" ", " 999 ", 1), cells[2]], ("2304", "found 2305")),
        (lambda cells: [cells[0], "9" * 30 + " " + cells[1].split(" ", 1)[1], cells[2]], ("pixel",)),
    ],
)
def test_a_bad_row_of_a_csv_is_named_by_line_and_row(table: Path, tmp_path: Path, change: object, facts: tuple[str, ...]) -> None:
    lines = table.read_text().splitlines()
    lines[4] = ",".join(change(lines[4].split(",")))  # type: ignore[operator]
    bad = tmp_path / "fer2013.csv"
    bad.write_text("\n".join(lines))
    message = refused(bad)
    assert all(fact in message for fact in ("line 5 (row 3)", *facts))


def test_a_csv_that_is_not_text_is_refused(table: Path, tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00" * 1000)
    assert "binary.csv" in refused(tmp_path / "binary.csv")
    (tmp_path / "endless.csv").write_text("emotion,pixels,Usage\n0," + "1" * 200_000 + ",Training\n")
    assert "endless.csv" in refused(tmp_path / "endless.csv")
    (tmp_path / "empty.csv").write_text("")
    assert "empty.csv" in refused(tmp_path / "empty.csv")


def test_a_byte_order_mark_and_the_resource_forks_of_macos_are_skipped(table: Path, copied: Path, tmp_path: Path) -> None:
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert len(load(tmp_path / "bom.csv", LABELS).splits["train"]) == 168
    (copied / "train/happy/._fer0000001.png").write_bytes(b"resource fork")
    assert len(load(copied, LABELS).splits["train"]) == 168


def test_sixteen_bits_a_pixel_and_giant_headers_are_refused(copied: Path) -> None:
    cv2.imwrite(str(copied / "train/sad/deep.png"), np.zeros((48, 48), np.uint16))
    assert "train/sad/deep.png: expected 8 bits" in refused(copied)
    giant = bytearray((copied / "train/sad/deep.png").read_bytes())
    giant[16:24] = (60000).to_bytes(4, "big") * 2
    (copied / "train/sad/deep.png").write_bytes(bytes(giant))
    assert "train/sad/deep.png" in refused(copied)


def test_a_csv_of_something_else_names_the_missing_columns(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert "emotion, pixels, usage" in refused(tmp_path / "other.csv")


def test_blank_and_repeated_pictures_are_counted_and_kept_out_of_training(pictures: list[Picture], tmp_path: Path) -> None:
    validation = next(picture for split, _, _, picture in pictures if split == "validation")
    train = [picture for split, _, _, picture in pictures if split == "train"]
    more: list[Picture] = [
        ("train", "sad", 1000, validation),
        ("train", "sad", 1001, np.zeros((48, 48), np.uint8)),
        ("train", "sad", 1002, train[0]),
    ]
    data = load(write_folder([*pictures, *more], tmp_path / "toy"), LABELS)
    found = audit(data)
    kept = data.splits["train"].keep(found.train_keep)
    assert not {1000, 1001} & set(kept.rows.tolist())
    assert 1002 in kept.rows
    assert found.validation_unique.sum() == 41
    text = "\n".join(found.lines)
    assert "1 blank, 1 repeat" in text
    assert "1 validation images stand in train" in text
    assert "28,709 in the published FER2013" in text


def test_ferplus_votes_are_joined_by_row_and_soften_the_label(pictures: list[Picture], table: Path, votes: Path) -> None:
    train = load(table, LABELS).splits["train"]
    cast = load_ferplus(votes)
    assert cast.shape == (len(pictures), len(FERPLUS_COLUMNS))
    assert dict(zip(FERPLUS_COLUMNS, cast[0], strict=True))["happiness"] == 6
    assert cast[3, FERPLUS_COLUMNS.index("NF")] == 10
    wanted = targets(train, LABELS, cast, 0.5)
    assert wanted.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert wanted.min() >= 0
    assert (wanted.argmax(axis=1) == train.labels).all()


def test_votes_have_more_of_the_target_where_the_taggers_agree() -> None:
    sad, neutral = LABELS.index("sad"), LABELS.index("neutral")
    votes = np.zeros((3, len(FERPLUS_COLUMNS)), np.float32)
    votes[0, FERPLUS_COLUMNS.index("neutral")] = 10
    votes[1, [FERPLUS_COLUMNS.index("neutral"), FERPLUS_COLUMNS.index("sadness")]] = 5
    votes[2, FERPLUS_COLUMNS.index("unknown")] = 10
    split = Split(np.zeros((3, 48, 48), np.uint8), np.array([sad] * 3), np.arange(3), ("",) * 3)
    wanted = targets(split, LABELS, votes, 0.25)
    # Agreement is 1, 0.5 and 0, 0.5 on average.
    assert wanted[0, [sad, neutral]] == pytest.approx([0.5, 0.5])
    assert wanted[1, [sad, neutral]] == pytest.approx([0.875, 0.125])
    assert wanted[2, sad] == 1, "votes for none of the classes leave the label"


def test_pictures_that_half_of_the_taggers_call_no_face_are_no_faces() -> None:
    votes = np.zeros((3, len(FERPLUS_COLUMNS)), np.float32)
    votes[:, FERPLUS_COLUMNS.index("NF")] = 0, 4, 5
    votes[:, FERPLUS_COLUMNS.index("sadness")] = 10, 6, 5
    split = Split(np.zeros((3, 48, 48), np.uint8), np.zeros(3, np.int64), np.arange(3), ("",) * 3)
    assert faces(split, votes).tolist() == [True, True, False]


def test_the_majority_of_the_taggers_is_a_class_only_where_one_leads(table: Path, votes: Path) -> None:
    train = load(table, LABELS).splits["train"]
    cast = load_ferplus(votes)
    cast[7] = 0
    cast[7, [FERPLUS_COLUMNS.index("fear"), FERPLUS_COLUMNS.index("anger")]] = 5
    theirs = ferplus_majority(train, cast, LABELS)
    of_row = dict(zip(train.rows.tolist(), theirs.tolist(), strict=True))
    assert of_row[3] == of_row[7] == -1, "not a face, and a tie"
    others = ~np.isin(train.rows, (3, 7))
    assert (theirs[others] == train.labels[others]).all()


def test_the_votes_file_is_found_beside_or_inside_the_data(folder: Path, table: Path, votes: Path, tmp_path: Path) -> None:
    assert find_ferplus(table) is None
    assert find_ferplus(table, str(votes)) == votes
    with pytest.raises(DataError, match=r"asked\.csv"):
        find_ferplus(table, "asked.csv")
    (tmp_path / "fer2013new.csv").touch()
    assert find_ferplus(tmp_path) == find_ferplus(tmp_path / "fer2013.zip") == tmp_path / "fer2013new.csv"


def test_without_votes_or_share_the_target_is_the_label(table: Path, votes: Path) -> None:
    train = load(table, LABELS).splits["train"]
    for found in (targets(train, LABELS, None, 0.5), targets(train, LABELS, load_ferplus(votes), 0.0)):
        assert np.array_equal(found, np.eye(7, dtype=np.float32)[train.labels])


def test_votes_for_pictures_without_rows_or_too_few_votes_are_refused(copied: Path, table: Path, votes: Path, tmp_path: Path) -> None:
    for number, file in enumerate(copied.rglob("*.png")):
        file.rename(file.with_name(f"Training_{number}.png"))
    shares = load_ferplus(votes)
    with pytest.raises(DataError, match="joined by row"):
        targets(load(copied, LABELS).splits["train"], LABELS, shares, 0.3)
    with pytest.raises(DataError, match="votes for 10 rows"):
        targets(load(table, LABELS).splits["train"], LABELS, shares[:10], 0.3)
    (tmp_path / "bad.csv").write_text(votes.read_text().replace(",4,", ",four,", 1))
    with pytest.raises(DataError, match=r"bad\.csv.*line 2 \(row 0\)"):
        load_ferplus(tmp_path / "bad.csv")


@pytest.mark.slow
def test_the_real_fer2013_is_what_was_published(shared_data: Path) -> None:
    data = load(shared_data / "fer2013.zip", LABELS)
    found = audit(data)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 28709, "validation": 3589}
    assert (~found.validation_unique).sum() == 280
    text = "\n".join(found.lines)
    assert "train: 28,709 images (as published); 11 blank, 1,237 repeat another of them" in text
    assert len(load_ferplus(shared_data / "fer2013new.csv")) >= 28709 + 3589  # the rows of PrivateTest may be held back


def test_a_csv_written_by_hand_is_enough(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows: list[Picture] = [
        (split, label, 0, rng.integers(0, 256, (48, 48), np.uint8)) for split in ("train", "validation") for label in LABELS
    ]
    assert len(load(write_csv(rows, tmp_path / "x.csv"), LABELS).splits["train"]) == 7


def counts(path: Path) -> dict[str, list[int]]:
    return {name: np.bincount(split.labels, minlength=7).tolist() for name, split in load(path, LABELS).splits.items()}


EVEN = {"train": [24] * 7, "validation": [6] * 7}


@pytest.mark.parametrize("how", ["zip", "tar.gz", "tar", "folder", "zip in a folder"])
def test_a_csv_is_found_where_a_download_has_it(table: Path, tmp_path: Path, how: str) -> None:
    data = tmp_path / ("data" if how.endswith("folder") else f"data.{how}")
    if how == "folder":
        (data / "deep/er").mkdir(parents=True)
        shutil.copy(table, data / "deep/er/fer2013.csv")
        (data / "deep/README").touch()
    elif how.startswith("tar"):
        with tarfile.open(data, "w:gz" if how.endswith("gz") else "w") as archive:
            archive.add(table, "fer2013/fer2013.csv")
    else:
        if how == "zip in a folder":
            data.mkdir()
        with zipfile.ZipFile(data / "fer2013.zip" if data.is_dir() else data, "w") as packed:
            packed.write(table, "fer2013.csv")
            packed.writestr("__MACOSX/._fer2013.csv", "x")
    assert counts(data) == EVEN


def test_of_the_tables_of_the_challenge_the_one_with_all_columns_is_read(table: Path, tmp_path: Path) -> None:
    lines = [line.split(",") for line in table.read_text().splitlines()]
    (tmp_path / "train.csv").write_text("\n".join(",".join(cells[:2]) for cells in lines))
    (tmp_path / "test.csv").write_text("\n".join(cells[1] for cells in lines))
    assert all(fact in refused(tmp_path) for fact in ("train.csv has no column usage", "icml_face_data.csv"))
    header, *rows = lines
    assert header == ["emotion", "pixels", "Usage"]
    (tmp_path / "icml_face_data.csv").write_text("emotion, Usage, pixels\n" + "\n".join(f"{e}, {u}, {p}" for e, p, u in rows))
    assert counts(tmp_path) == EVEN
    assert f"{tmp_path}/icml_face_data.csv has it" in refused(tmp_path / "train.csv")


@pytest.mark.parametrize("how", ["semicolons", "utf-16"])
def test_a_table_that_a_spreadsheet_saved_again_is_read(table: Path, tmp_path: Path, how: str) -> None:
    text = table.read_text()
    path = tmp_path / "fer2013.csv"
    path.write_text(text.replace(",", ";")) if how == "semicolons" else path.write_text(text, encoding="utf-16")
    assert counts(path) == EVEN


def test_a_tree_that_is_there_twice_is_read_once(folder: Path, tmp_path: Path) -> None:
    for root in ("images", "images/images"):
        shutil.copytree(folder, tmp_path / root, dirs_exist_ok=True)
    for path in (tmp_path, tmp_path / "images"):
        assert counts(path) == EVEN
        assert any("210 pictures are there twice" in line for line in audit(load(path, LABELS)).lines)


def renamed(folder: Path, to: Path, names: dict[str, str]) -> Path:
    shutil.copytree(folder, to)
    for path in [path for path in to.rglob("*") if path.is_dir() and path.name in names]:
        path.rename(path.with_name(names[path.name]))
    return to


def test_other_words_for_the_classes_are_known(folder: Path, tmp_path: Path) -> None:
    words = {"angry": "Anger", "happy": "Happiness", "sad": "SADNESS", "fear": "fearful", "disgust": "disgusted"}
    assert counts(renamed(folder, tmp_path / "words", words)) == EVEN


def test_numbers_for_classes_need_a_mapping_which_the_error_spells_out(folder: Path, tmp_path: Path) -> None:
    root = renamed(folder, tmp_path / "numbers", {label: str(number) for number, label in enumerate(LABELS)})
    assert all(fact in refused(root) for fact in ("train/0", "classes.toml", '0 = "angry"', "RAF-DB"))
    (root / "classes.toml").write_text("".join(f'{number} = "{label}"\n' for number, label in enumerate(LABELS)))
    assert counts(root) == EVEN
    (root / "classes.toml").write_text('0 = "angryy"')
    assert "angryy" in refused(root)


def test_raf_db_is_known_by_the_names_of_its_pictures(folder: Path, tmp_path: Path) -> None:
    orders = ["surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"]
    root = renamed(folder, tmp_path / "DATASET", {label: str(number) for number, label in enumerate(orders, 1)})
    for number, file in enumerate(sorted(root.rglob("*.png"))):
        file.rename(file.with_name(f"train_{number:05}_aligned.png"))
    assert counts(root) == EVEN


def test_data_without_splits_are_split_by_person_and_a_class_that_fer2013_lacks_is_left_out(folder: Path, tmp_path: Path) -> None:
    for number, file in enumerate(sorted((folder / "train").rglob("*.png"))):
        label = {"angry": "anger", "happy": "happiness", "sad": "sadness", "neutral": "contempt"}.get(file.parent.name, file.parent.name)
        (tmp_path / label).mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / label / f"S{number % 24:03}_001_{number:08}.png")
    data = load(tmp_path, LABELS)
    people = {name: {Path(picture).name[:4] for picture in split.names} for name, split in data.splits.items()}
    assert people["train"] and people["validation"]
    assert not people["train"] & people["validation"]
    text = "\n".join(audit(data).lines)
    assert "24 pictures of contempt are left out" in text
    assert "warning: no training pictures of neutral" in text


def test_a_linked_class_folder_is_read(copied: Path, tmp_path: Path) -> None:
    shutil.move(copied / "train/happy", tmp_path / "elsewhere")
    (copied / "train/happy").symlink_to(tmp_path / "elsewhere")
    (copied / "train/sad/loop").symlink_to(copied)
    assert counts(copied) == EVEN


def test_an_empty_class_is_a_warning_and_a_single_one_an_error(copied: Path) -> None:
    shutil.rmtree(copied / "train/fear")
    assert any("warning" in line and "fear" in line for line in audit(load(copied, LABELS)).lines)
    for path in (copied / "train").iterdir():
        if path.name != "sad":
            shutil.rmtree(path)
    assert "only pictures of sad" in refused(copied)
    assert "class folder" in refused(copied / "train/sad")


def test_an_entry_of_absurd_size_in_a_zip_is_named_and_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/happy/1.png", bytes(60_000_000))
    assert all(fact in refused(tmp_path / "bomb.zip") for fact in ("train/happy/1.png", "60 MB"))


@pytest.mark.parametrize("name", ["archive.zip", "fer2013.tar.gz", "nested", "competition", "fer2013.csv"])
def test_the_downloads_of_the_case_are_read(shared_data: Path, name: str) -> None:
    path = shared_data.parent / "cases" / "kaggle-data" / name
    if not path.exists():
        pytest.skip("no shared cases here")
    assert counts(path)["train"] == [2] * 7
