import ast
from dataclasses import dataclass
from typing import Any

import pytest
import yolo_values
from hypothesis import given
from hypothesis import strategies as st

from yolo_operator.core.triton import metadata

NASTY = st.text(alphabet=st.one_of(st.sampled_from("'\"\\\n\r\t{}()[]#%$`;:中文é\x00\u2028"), st.characters(exclude_categories=["Cs"])), max_size=30)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | NASTY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NASTY, inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(NASTY, min_size=1, max_size=5), st.dictionaries(NASTY, PLAIN, max_size=4))
def test_any_class_name_comes_back_from_the_client(names, other):
    wanted = metadata.metadata(yolo_values.description(names=names, metadata=other))
    text = metadata.literal(wanted)
    assert text.isascii()
    assert "\n" not in text
    # Both ways in which versions of the Ultralytics client read it.
    assert ast.literal_eval(text) == wanted
    assert eval(text, {"__builtins__": {}}) == wanted
    assert wanted["names"] == dict(enumerate(names))


@pytest.mark.parametrize("name", ["it's", 'a "quoted" one', "two\nlines", "{braces}", "中文", "\\", "'+__import__('os').system('true')+'"])
def test_class_names_that_broke_configurations(name):
    text = metadata.literal(metadata.metadata(yolo_values.description(names=[name])))
    assert ast.literal_eval(text)["names"] == {0: name}


def test_lone_surrogates_become_escapes():
    found = metadata.metadata(yolo_values.description(metadata={"a\ud800": ["\udfff"]}))
    assert found["a\\ud800"] == ["\\udfff"]


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
    found = metadata.metadata(yolo_values.description(metadata=said))
    assert found["names"] == {0: "bus", 1: "person"}
    assert (found["task"], found["imgsz"], found["stride"]) == ("detect", [640, 640], 32)
    assert found["args"] == {"dynamic": True, "nms": False, "opset": 17}
    assert found["kpt_names"] == {0: ["nose"]}


def test_metadata_of_a_megabyte_is_refused():
    with pytest.raises(ValueError, match="is over the"):
        metadata.literal({"x": "a" * (metadata.MAX_BYTES + 1)})
