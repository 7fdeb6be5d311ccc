"""What goes into the images is locked by hash, and what is under the AGPL stays in the exporter's. Reads the repository's files, as they are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = [
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "requirements").glob("*.txt") if "overrides" not in path.name),
    "tests/cluster/images/client/requirements.txt",
    "tests/cluster/images/client/oldest.txt",
]
ROW = re.compile(r"\| (\S+) \| (\S+) \| (.+) \|")


def locked(lock: str) -> dict[str, list[str]]:
    """What a lock names, with its marker, and the hashes of each."""
    entries = [entry for entry in re.split(r"\n(?=\S)", (ROOT / lock).read_text()) if not entry.startswith("#")]
    return {entry.partition("\\")[0].strip(): re.findall(r"--hash=sha256:([0-9a-f]{64})\b", entry) for entry in entries}


def licences(image: str) -> dict[str, tuple[str, str]]:
    """Version and licence of each package of an image, from docs/licences.md."""
    text = (ROOT / "docs" / "licences.md").read_text().partition(f"## {image} image\n")[2].partition("\n## ")[0]
    rows = [match.groups() for match in map(ROW.fullmatch, text.splitlines()) if match is not None]
    return {name: (version, licence) for name, version, licence in rows if name not in ("Package", "---")}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_its_hashes(lock: str) -> None:
    found = locked(lock)
    assert found
    for name, hashes in found.items():
        assert re.match(r"\S+==\S", name), name
        assert hashes, name


def test_the_images_install_nothing_from_an_index_without_its_hash() -> None:
    commands = re.split(r"&&|\n", (ROOT / "Dockerfile").read_text().replace("\\\n", " "))
    installed = [command for command in commands if re.search(r"\bpip install\b", command)]
    assert len(installed) == 5
    for command in installed:
        assert "--no-deps" in command, command
        assert "--require-hashes" in command or "--no-index" in command, command


@pytest.mark.parametrize("image", ["Operator", "Exporter", "Pictures"])
def test_the_licences_are_those_of_what_is_locked(image: str) -> None:
    names = {name for name in locked(f"requirements/{image.lower()}.txt") if not re.search("python_full_version < |sys_platform == 'win32'", name)}
    assert {name.partition(" ")[0] for name in names} == {f"{name}=={version}" for name, (version, _) in licences(image).items()}, "run make licences"


def test_the_agpl_is_in_the_exporter_image_alone() -> None:
    copyleft = {
        image: {name for name, (_, licence) in licences(image).items() if re.search("GPL|Affero|not stated", licence)} for image in ("Operator", "Exporter")
    }
    assert copyleft == {"Operator": set(), "Exporter": {"ultralytics", "ultralytics-platform", "ultralytics-thop"}}
    assert not {name.partition("==")[0] for name in locked("requirements/operator.txt")} & copyleft["Exporter"]
