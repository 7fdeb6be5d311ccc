"""The way out through an HTTP proxy, where spec.build.proxy names one: which hosts are reached through it, and with which credentials."""

import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote, urlsplit

from yolo_operator.core.contract import PROXY_SECRET
from yolo_operator.core.errors import Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Where proxies are, and what is reached without. No proxy at all where both addresses are empty."""

    http: str = ""
    """http://host:port, for http:// addresses."""
    https: str = ""
    """http://host:port, for https:// addresses, asked for a tunnel (CONNECT)."""
    no_proxy: Sequence[str] = ()
    """Host names, with all below them, addresses and networks that are reached directly; * for all."""
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    ca_bundle: str = ""
    """PEM file with the authorities that are trusted besides behind the proxy, as where it looks into TLS."""

    def url_for(self, url: str) -> str:
        """The proxy for an address; "" where it is reached directly."""
        parts = urlsplit(url)
        through = {"http": self.http, "https": self.https}.get(parts.scheme, "")
        return "" if not through or bypassed(parts.hostname or "", self.no_proxy) else through

    def with_login(self, through: str) -> str:
        """A proxy's URL with the credentials in it, as botocore takes them. Never to be shown."""
        if not self.username:
            return through
        scheme, _, rest = through.partition("://")
        return f"{scheme}://{quote(self.username, safe='')}:{quote(self.password, safe='')}@{rest}"


DIRECT = Proxy()
"""No proxy."""


def from_environment(proxy: Proxy, secret: str, env: Mapping[str, str] = os.environ) -> Proxy:
    """A proxy with the credentials that the container was given of a Secret. Raises Unavailable ProxySecretInvalid."""
    if not secret:
        return proxy
    found = {key: env.get(variable, "").strip() for key, variable in PROXY_SECRET.items()}
    if not all(found.values()):
        raise Unavailable("ProxySecretInvalid", f"Secret {secret!r} (spec.build.proxy.secretRef) is not in this namespace, or has not both: username; password")
    return replace(proxy, **found)


def bypassed(host: str, entries: Sequence[str]) -> bool:
    """Whether a host is reached without a proxy, as NO_PROXY is commonly read: a name stands for all below it, a leading dot or not."""
    name = host.strip("[]").rstrip(".").lower()
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        domains = [entry.lstrip(".").rstrip(".").lower() for entry in entries]
        return any(domain in ("*", name) or name.endswith(f".{domain}") for domain in domains)
    return any(holds(entry, address) for entry in entries)


def holds(entry: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an entry is the address, a network that it is in, or everything."""
    try:
        return entry == "*" or address in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False
