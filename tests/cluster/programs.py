#!/usr/bin/env python3
"""What `make programs` does: an OCI registry, oras, and what Flux and Argo CD decide by, into the cache. The tests run them; the cluster knows none of them.

CACHE/tools/registry CACHE/tools/oras CACHE/tools/kstatus CACHE/tools/gitops
"""

import sys

import builds
from steps import ClusterError

if __name__ == "__main__":
    try:
        builds.build_test_programs()
    except ClusterError as error:
        sys.exit(f"programs: {error}")
