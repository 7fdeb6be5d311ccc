#!/usr/bin/env python3
"""What `make registry` does: an OCI registry and oras into the cache. The tests run them; the cluster knows neither.

CACHE/tools/registry CACHE/tools/oras
"""

import sys

import builds
from steps import ClusterError

if __name__ == "__main__":
    try:
        builds.build_registry()
    except ClusterError as error:
        sys.exit(f"registry: {error}")
