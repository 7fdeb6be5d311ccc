"""What the images hold of Python packages: a bill of materials each, in CycloneDX (`make sbom`), and docs/licences.md (`make licences`).

    bill.py sbom FOLDER | bill.py licences FILE

pip asks the package index for what the locks name, for the images' Python, checks the hashes and installs nothing. Debian's packages are not in it.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
IMAGES = ("operator", "exporter", "pictures")
"""Each has a lock of its name beside this file; that of pictures is for what the operator's image brings into serving pods."""
PYTHON = "3.13"
"""Of Debian trixie, the images' base."""
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64", "implementation_name": "cpython"}
ENVIRONMENT = LINUX | {"platform_python_implementation": "CPython", "python_version": PYTHON, "python_full_version": f"{PYTHON}.0"}
GLIBC = ("2_5", "2_12", "2_17", "2_24", "2_26", "2_27", "2_28", "2_31", "2_34", "2_35", "2_38", "2_39", "2_40", "2_41")
LONGEST = 60
"""Characters of a licence's name; longer ones are its text."""
INTRODUCTION = """# Licences

Of the Python packages in the images, as the packages themselves state them. Written by `make licences`; `make sbom` writes the same with hashes, in CycloneDX.
The operator is under Apache-2.0. Code under the AGPL is in the exporter image alone, and a test refuses it anywhere else. Debian's packages, PyTorch among
them, have their licences in `/usr/share/doc/*/copyright` of the image."""

Package = dict[str, Any]


def packages(image: str) -> list[Package]:
    """Name, version, sha256 and licence of what an image's lock names, by name."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, report = Path(folder) / "wanted.txt", Path(folder) / "report.json"
        wanted.write_text("\n".join(locked(image)), encoding="utf-8")
        only = ["--only-binary=:all:", f"--python-version={PYTHON}", *(f"--platform=manylinux_{version}_x86_64" for version in GLIBC)]
        files = [f"--requirement={wanted}", f"--report={report}", f"--target={folder}/nowhere"]
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--require-hashes"]
        subprocess.run([*pip, *only, "--platform=manylinux2014_x86_64", *files], check=True)  # noqa: S603  arguments of our own
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    made = [
        {
            "name": canonicalize_name(each["metadata"]["name"]),
            "version": each["metadata"]["version"],
            "licence": licence(each["metadata"]),
            "sha256": each["download_info"]["archive_info"]["hashes"]["sha256"],
        }
        for each in found
    ]
    return sorted(made, key=lambda package: str(package["name"]))


def locked(image: str) -> Iterator[str]:
    """The entries of its lock that are for the images' Python and platform; pip would evaluate a marker for the Python that runs it."""
    for entry in re.split(r"\n(?=\S)", (ROOT / "requirements" / f"{image}.txt").read_text(encoding="utf-8")):
        if not entry.startswith("#"):
            head, _, hashes = entry.partition("\\\n")
            wanted = Requirement(head.strip())
            if wanted.marker is None or wanted.marker.evaluate(ENVIRONMENT):
                yield f"{wanted.name}{wanted.specifier} \\\n{hashes}"


def licence(metadata: dict[str, Any]) -> str:
    """The SPDX expression, where a package has one, else the name it gives, else the classifiers."""
    named = metadata.get("license", "").strip()
    classifiers = [text.rpartition(" :: ")[2] for text in metadata.get("classifier", []) if text.startswith("License ::")]
    short = named if "\n" not in named and len(named) <= LONGEST else ""
    return metadata.get("license_expression") or short or ", ".join(classifiers) or "not stated"


def bill(image: str, found: list[Package]) -> str:
    """CycloneDX as JSON, valid by its schema."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    bom, licences = Bom(), LicenseFactory()
    whole = Component(name=f"yolo-operator/{image}", version=version, type=ComponentType.CONTAINER)
    parts = [
        Component(
            name=each["name"],
            version=each["version"],
            type=ComponentType.LIBRARY,
            purl=PackageURL("pypi", None, each["name"], each["version"]),
            licenses=[licences.make_from_string(each["licence"])],
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each["sha256"])],
        )
        for each in found
    ]
    bom.metadata.component = whole
    bom.components.update(parts)
    bom.register_dependency(whole, parts)
    text: str = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1)
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if fault is not None:
        raise ValueError(f"{image}: not CycloneDX: {fault}")
    return text


def table(image: str, found: list[Package]) -> str:
    """A section of docs/licences.md."""
    lines = [f"| {each['name']} | {each['version']} | {each['licence']} |" for each in found]
    return "\n".join([f"\n## {image.capitalize()} image\n", "| Package | Version | Licence |", "| --- | --- | --- |", *lines])


def main(what: str, where: Path) -> None:
    """Write."""
    found = {image: packages(image) for image in IMAGES}
    if what == "licences":
        where.write_text("\n".join([INTRODUCTION, *(table(image, each) for image, each in found.items())]) + "\n", encoding="utf-8")
        return
    where.mkdir(parents=True, exist_ok=True)
    for image, each in found.items():
        (where / f"{image}.cdx.json").write_text(bill(image, each), encoding="utf-8")
        sys.stdout.write(f"{where / image}.cdx.json: {len(each)} packages\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
