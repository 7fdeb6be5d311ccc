"""`yolo-operator validate` and `render`, as a user runs them."""

from pathlib import Path

import pytest
import yaml

from yolo_operator import cli

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default storage of a chart."""
    monkeypatch.setenv("YOLO_OPERATOR_STORAGE", '{"uri": "s3://models/yolo", "endpoint": "http://s3:8333"}')


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_valid_and_can_be_rendered(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", str(path)]) == 0
    assert ": ok, revisions 1:" in capsys.readouterr().out

    assert cli.main(["render", str(path)]) == 0
    kinds = [document["kind"] for document in yaml.safe_load_all(capsys.readouterr().out)]
    assert {"Job", "Service", "Deployment", "PodDisruptionBudget"} <= set(kinds)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("kind: YoloDeployment\nmetadata: {name: a}\nspec: {versions: []}", "spec.versions", id="a field out of bounds is named"),
        pytest.param("kind: Pod", "holds no YoloDeployment", id="a file without a resource"),
        pytest.param("a: [", "expected", id="a file that is no YAML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    assert cli.main(["validate", str(tmp_path / "bad.yaml")]) == 42
    assert said in capsys.readouterr().err


def test_a_missing_storage_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YOLO_OPERATOR_STORAGE")
    assert cli.main(["validate", str(ROOT / "examples" / "minimal.yaml")]) == 42
    assert "spec.storage is not set" in capsys.readouterr().err
