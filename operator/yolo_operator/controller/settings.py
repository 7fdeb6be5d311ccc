"""The operator's settings, from its environment; the chart writes them. Read once, at the start."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from yolo_operator.core import api
from yolo_operator.core.defaults import ULTRALYTICS_ASSETS, Defaults

PREFIX = "YOLO_OPERATOR_"


class SettingsError(Exception):
    """A variable that cannot be used; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that is the administrator's, not the spec's."""

    defaults: Defaults
    namespaces: tuple[str, ...] = ()
    """Namespaces to watch; none means all."""
    workers: int = 4
    """Resources reconciled at once."""
    resync_seconds: float = 120
    """Pause between two lists of everything, which find what a watch has missed."""
    port: int = 8080
    """Of /metrics and /healthz; 0: none."""
    address: str = "0.0.0.0"  # noqa: S104  the kubelet and Prometheus come from outside the Pod
    """Where that port listens."""
    lease_namespace: str = ""
    """Namespace of the Lease; empty: no leader election, for one operator alone."""
    lease_name: str = "yolo-operator"
    identity: str = ""
    """Who holds the Lease; the Pod's name."""
    log_format: str = "json"
    """json or text."""
    log_level: str = "INFO"

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Read the YOLO_OPERATOR_* variables. Raises SettingsError."""

        def text(name: str, default: str) -> str:
            return env.get(PREFIX + name, "") or default

        def number(name: str, default: float) -> float:
            try:
                return float(text(name, str(default)))
            except ValueError as error:
                raise SettingsError(f"{PREFIX}{name} must be a number") from error

        storage = text("STORAGE", "")
        try:
            default_storage = api.Storage.model_validate(json.loads(storage)) if storage else None
        except ValueError as error:
            raise SettingsError(f"{PREFIX}STORAGE must be JSON with uri, endpoint, region and secretRef: {error}") from error
        return cls(
            defaults=Defaults(
                operator_image=text("OPERATOR_IMAGE", "docker.io/yolo-operator/operator:dev"),
                exporter_image=text("EXPORTER_IMAGE", "docker.io/yolo-operator/exporter:dev"),
                triton_image=text("TRITON_IMAGE", "nvcr.io/nvidia/tritonserver:25.08-py3"),
                cluster_name=text("CLUSTER_NAME", "default"),
                storage=default_storage,
                assets_url=text("ASSETS_URL", ULTRALYTICS_ASSETS),
                retry_min_seconds=number("RETRY_MIN_SECONDS", 60),
                retry_max_seconds=number("RETRY_MAX_SECONDS", 600),
            ),
            namespaces=tuple(part.strip() for part in text("NAMESPACES", "").split(",") if part.strip()),
            workers=int(number("WORKERS", 4)),
            resync_seconds=number("RESYNC_SECONDS", 120),
            port=int(number("PORT", 8080)),
            address=text("ADDRESS", "0.0.0.0"),  # noqa: S104  as above
            lease_namespace=text("LEASE_NAMESPACE", ""),
            lease_name=text("LEASE_NAME", "yolo-operator"),
            identity=text("IDENTITY", os.uname().nodename),
            log_format=text("LOG_FORMAT", "json"),
            log_level=text("LOG_LEVEL", "INFO"),
        )
