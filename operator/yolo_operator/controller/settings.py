"""The operator's settings, from its environment; the chart writes them. Read once, at the start."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from yolo_operator.core import api
from yolo_operator.core.contract import ASSETS_URL, HUB_URL
from yolo_operator.core.defaults import Defaults, JobPlacement

PREFIX = "YOLO_OPERATOR_"
Part = TypeVar("Part", bound=api.Model)


class SettingsError(Exception):
    """A variable that cannot be used; the message names it, its value and the remedy."""


@dataclass(frozen=True, slots=True)
class Variables:
    """The YOLO_OPERATOR_* variables; an empty one counts as none. All but `text` raise SettingsError."""

    env: Mapping[str, str]

    def text(self, name: str, default: str) -> str:
        """As it is."""
        return self.env.get(PREFIX + name, "") or default

    def seconds(self, name: str, default: float) -> float:
        """A number above 0."""
        value = self.text(name, str(default))
        found = _number(value)
        if not 0 < found < math.inf:
            raise SettingsError(f"{PREFIX}{name} is {value!r}: set it to a number of seconds above 0, such as {default:g}")
        return found

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number between bounds."""
        value = self.text(name, str(default))
        found = _number(value)
        if not least <= found <= most or not found.is_integer():
            raise SettingsError(f"{PREFIX}{name} is {value!r}: set it to a whole number from {least} to {most}, such as {default}")
        return int(found)

    def one_of(self, name: str, *choices: str) -> str:
        """One of some words, by default the first."""
        value = self.text(name, choices[0])
        if value not in choices:
            raise SettingsError(f"{PREFIX}{name} is {value!r}: set it to one of {', '.join(choices)}")
        return value

    def part(self, name: str, model: type[Part], such_as: str) -> Part | None:
        """A part of a spec, in JSON."""
        value = self.text(name, "")
        if not value:
            return None
        # The value is not repeated: somebody may have written credentials into it.
        try:
            return model.model_validate_json(value)
        except ValidationError as error:
            faults = "; ".join(": ".join(filter(None, (".".join(map(str, fault["loc"])), fault["msg"]))) for fault in error.errors())
            raise SettingsError(f"{PREFIX}{name} cannot be read ({faults}): set it to JSON with {such_as}") from error


def _number(value: str) -> float:
    """Not a number, where it is none: that is within no bounds."""
    try:
        return float(value)
    except ValueError:
        return math.nan


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
    address: str = ""
    """Where that port listens; empty: everywhere, over IPv4 and IPv6, as the kubelet and Prometheus come from outside the Pod."""
    lease_namespace: str = ""
    """Namespace of the Lease; empty: no leader election, for one operator alone."""
    lease_name: str = "yolo-operator"
    identity: str = ""
    """Who holds the Lease; the Pod's name."""
    log_format: str = "json"
    """json or text."""
    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Read the YOLO_OPERATOR_* variables. Raises SettingsError."""

        read = Variables(env)
        return cls(
            defaults=Defaults(
                operator_image=read.text("OPERATOR_IMAGE", "docker.io/yolo-operator/operator:dev"),
                exporter_image=read.text("EXPORTER_IMAGE", "docker.io/yolo-operator/exporter:dev"),
                triton_image=read.text("TRITON_IMAGE", "nvcr.io/nvidia/tritonserver:25.08-py3"),
                max_image_updates=read.whole("TRITON_MAX_CONCURRENT_UPDATES", 3, 0, 1000),
                cluster_name=read.text("CLUSTER_NAME", "default"),
                storage=read.part("STORAGE", api.Storage, "uri, endpoint, region and secretRef"),
                proxy=read.part("PROXY", api.Proxy, "httpProxy, httpsProxy, noProxy and secretRef"),
                assets_url=read.text("ASSETS_URL", ASSETS_URL),
                hub_url=read.text("HUB_URL", HUB_URL),
                jobs=read.part("JOBS", JobPlacement, "nodeSelector and tolerations") or JobPlacement(),
                assigned_user=read.one_of("ASSIGNED_USER", "false", "true") == "true",
                ipv6=read.one_of("IPV6", "false", "true") == "true",
                retry_min_seconds=read.seconds("RETRY_MIN_SECONDS", 60),
                retry_max_seconds=read.seconds("RETRY_MAX_SECONDS", 600),
            ),
            namespaces=tuple(part.strip() for part in read.text("NAMESPACES", "").split(",") if part.strip()),
            workers=read.whole("WORKERS", 4, 1, 64),
            resync_seconds=read.seconds("RESYNC_SECONDS", 120),
            port=read.whole("PORT", 8080, 0, 65535),
            address=read.text("ADDRESS", ""),
            lease_namespace=read.text("LEASE_NAMESPACE", ""),
            lease_name=read.text("LEASE_NAME", "yolo-operator"),
            identity=read.text("IDENTITY", os.uname().nodename),
            log_format=read.one_of("LOG_FORMAT", "json", "text"),
            log_level=read.one_of("LOG_LEVEL", "INFO", "DEBUG", "WARNING", "ERROR"),
        )
