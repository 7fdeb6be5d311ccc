"""Errors are named by what happens next; their reason is the condition reason and the event reason.

OperatorError
├── InvalidSpec   only an edit of the spec or other weights can help: Stalled
├── NotReady      a dependency is still coming up: look again at the next event
└── Unavailable   transient: retry with backoff
"""

import errno

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Numbers of an OSError where no room is left."""


class OperatorError(Exception):
    """Root of the tree: a reason in CamelCase and a message that names the field and the remedy."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class InvalidSpec(OperatorError):
    """Only an edit of the spec or other weights can help: Stalled, no retry; a worker exits with 42."""


class NotReady(OperatorError):
    """A dependency is still coming up: not an error, look again at the next pass."""


class Unavailable(OperatorError):
    """A remote call failed: back off and retry; a worker exits with 1."""
