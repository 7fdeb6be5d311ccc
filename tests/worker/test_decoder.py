"""The init container that brings OpenCV into serving pods."""

import errno
import json
import shutil

import pytest

from yolo_operator import cli
from yolo_operator.core.contract import TRANSIENT_EXIT_CODE


@pytest.fixture
def source(tmp_path, monkeypatch):
    place = tmp_path / "image"
    (place / "cv2").mkdir(parents=True)
    (place / "cv2" / "__init__.py").write_text("decoder = 1\n")
    monkeypatch.setenv("PICTURE_DECODER", str(place))
    return place


def answer(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


def test_all_is_copied_and_again_after_a_restart(source, tmp_path, capsys):
    volume = tmp_path / "volume"
    volume.mkdir(mode=0o777)
    for _ in range(2):
        assert cli.main(["decoder", f"--directory={volume}", "--termination-log=/nowhere"]) == 0
        assert answer(capsys)["result"] == {"files": 1}
    assert (volume / "cv2" / "__init__.py").read_text() == "decoder = 1\n"


def test_an_image_without_it_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PICTURE_DECODER", str(tmp_path / "missing"))
    assert cli.main(["decoder", f"--directory={tmp_path}", "--termination-log=/nowhere"]) == TRANSIENT_EXIT_CODE
    said = answer(capsys)
    assert said["reason"] == "DecoderMissing"
    assert "images.operator" in said["message"]


@pytest.mark.parametrize(("number", "reason"), [(errno.ENOSPC, "DiskFull"), (errno.EDQUOT, "DiskFull"), (errno.EPERM, "InternalError")])
def test_a_full_disk_is_told_and_nothing_else_is_taken_for_it(source, tmp_path, monkeypatch, capsys, number, reason):
    def refuse(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(shutil, "copyfile", refuse)
    assert cli.main(["decoder", f"--directory={tmp_path / 'volume'}", "--termination-log=/nowhere"]) == TRANSIENT_EXIT_CODE
    assert answer(capsys)["reason"] == reason
