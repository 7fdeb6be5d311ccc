"""Termination messages: never too long, never misread."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_operator.core.contract import TERMINATION_LIMIT, Outcome

reasons = st.from_regex(r"[A-Z][A-Za-z]{0,40}", fullmatch=True)


@given(reasons, st.text(max_size=6000))
def test_a_message_always_fits_and_can_be_read_back(reason, message):
    text = Outcome(reason=reason, message=message).encode()
    assert len(text.encode()) <= TERMINATION_LIMIT
    read = Outcome.decode(text)
    assert read is not None
    assert read.reason == reason
    assert message.startswith(read.message.removesuffix("…")) or read.message == message


@pytest.mark.parametrize(
    "message",
    [
        pytest.param("x" * 5000, id="plain"),
        pytest.param('"' * 3000, id="quotes, which are escaped"),
        pytest.param("\x00" * 3000, id="control characters, which become six bytes each"),
        pytest.param("😀" * 3000, id="four bytes each"),
        pytest.param("é" * 1000 + "\\" * 1000, id="a mixture"),
    ],
)
def test_a_long_message_is_cut_but_not_lost(message):
    text = Outcome(reason="Failed", message=message).encode()
    assert len(text.encode()) <= TERMINATION_LIMIT
    read = Outcome.decode(text)
    assert read is not None
    assert read.message.endswith("…")
    assert len(read.message) > 100


def test_a_result_that_does_not_fit_is_an_error_not_half_an_answer():
    with pytest.raises(ValueError, match="over the 2000"):
        Outcome(result={"names": "x" * 3000}).encode()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("Segmentation fault", id="a crash's last line"),
        pytest.param('{"result": {"uri": "s3://…', id="cut by the kubelet"),
        pytest.param('{"reason": 7}', id="of another type"),
        pytest.param('{"hello": "cluster"}', id="somebody else's JSON"),
        pytest.param("[]", id="a list"),
        pytest.param("null", id="null"),
        pytest.param("[" * 100_000, id="nested too deep"),
        pytest.param('{"reason": ' + "9" * 5000 + "}", id="a number without end"),
    ],
)
def test_what_is_not_ours_is_not_read(text):
    assert Outcome.decode(text) is None
