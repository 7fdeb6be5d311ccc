import ast
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given

import hostile
import yolo_values
from yolo_operator.core.triton import metadata


@given(hostile.NAMES, hostile.METADATA)
def test_any_class_name_comes_back_from_the_client(names, said):
    wanted = metadata.metadata(yolo_values.description(names=names, metadata=said), "Dynamic")
    text = metadata.literal(wanted)
    assert text.isascii()
    assert "\n" not in text
    # Both ways in which versions of the Ultralytics client read it.
    assert ast.literal_eval(text) == wanted
    assert eval(text, {"__builtins__": {}}) == wanted
    assert wanted["names"] == dict(enumerate(names))


@given(hostile.METADATA)
@example(dict.fromkeys(hostile.EVALUATED, hostile.SCRIPT))
def test_nothing_that_clients_evaluate_once_more_is_text(said):
    found = metadata.metadata(yolo_values.description(metadata=said), "Dynamic")
    assert [key for key in hostile.EVALUATED if isinstance(found.get(key), str)] == []
    for index, listed in found.get("kpt_names", {}).items():
        assert isinstance(index, int)
        assert all(isinstance(name, str) for name in listed)


@given(hostile.METADATA)
def test_clients_get_no_attribute_that_is_not_known(said):
    found = metadata.metadata(yolo_values.description(metadata=said), "Dynamic")
    relied_on = {"channels", "task", "names", "stride", "batch", "imgsz", "end2end", "args", "kpt_names"}
    assert relied_on - {"kpt_names"} <= set(found) <= relied_on | set(metadata.TEXTS)
    assert all(isinstance(found[key], str) for key in metadata.TEXTS if key in found)
    assert found["channels"] == 3


@pytest.mark.parametrize("name", ["it's", 'a "quoted" one', "two\nlines", "{braces}", "中文", "\\", "'+__import__('os').system('true')+'"])
def test_class_names_that_broke_configurations(name):
    text = metadata.literal(metadata.metadata(yolo_values.description(names=[name]), "Dynamic"))
    assert ast.literal_eval(text)["names"] == {0: name}


def test_lone_surrogates_become_escapes():
    found = metadata.metadata(yolo_values.description(metadata={"args": {"a\ud800": ["\udfff"]}}), "Dynamic")
    assert found["args"]["a\\ud800"] == ["\\udfff"]


@pytest.mark.parametrize("said", [{"0": hostile.SCRIPT}, {"all": ["nose"]}, {"0": [["nose"]]}, [["nose"]], hostile.SCRIPT])
def test_names_of_keypoints_in_another_form_are_left_out(said):
    assert "kpt_names" not in metadata.metadata(yolo_values.description("pose", metadata={"kpt_names": said}), "Dynamic")


@dataclass
class Intruder:
    text: str = "__import__('os')"

    def __repr__(self) -> str:
        return self.text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Intruder()])
def test_what_has_no_literal_is_refused(value: Any):
    with pytest.raises(ValueError, match=r".+"):
        metadata.literal({"x": value})


def test_the_client_gets_what_was_checked_not_what_was_claimed():
    said = {"names": {"0": "lie"}, "task": "pose", "imgsz": [1, 1], "stride": 1, "args": {"dynamic": False, "opset": 17}, "kpt_names": {"0": ["nose"]}}
    found = metadata.metadata(yolo_values.description(metadata=said), "Dynamic")
    assert found["names"] == {0: "bus", 1: "person"}
    assert (found["task"], found["imgsz"], found["stride"]) == ("detect", [640, 640], 32)
    assert found["args"] == {"dynamic": True, "nms": False, "opset": 17}
    assert found["kpt_names"] == {0: ["nose"]}


def test_metadata_of_a_megabyte_is_refused():
    with pytest.raises(ValueError, match="is over the"):
        metadata.literal({"x": "a" * (metadata.MAX_BYTES + 1)})
