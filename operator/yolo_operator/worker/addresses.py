"""Which addresses a worker may connect to: any but those a cloud keeps its metadata and credentials at.

A source's URI and an S3 endpoint are the tenant's, the connection is made from inside the cluster. Loopback and private addresses are allowed
(an in-cluster S3 is one). What a name resolves to is checked, and just that address is connected to: no second lookup.

Behind a proxy, which looks names up by itself, the same is asked of what they resolve to here; of a name that is unknown here the proxy decides.
"""

import ipaddress
import socket
from typing import Any

from botocore.awsrequest import AWSHTTPConnection, AWSHTTPConnectionPool, AWSHTTPSConnection, AWSHTTPSConnectionPool
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager, make_headers
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NameResolutionError, NewConnectionError

from yolo_operator.core.errors import InvalidSpec
from yolo_operator.worker import trust
from yolo_operator.worker.proxy import Proxy

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

SOURCE = "spec.versions[].source.uri"
PROXY = "spec.build.proxy"
METADATA = [
    ipaddress.ip_network("169.254.0.0/16"),
    ipaddress.ip_network("fe80::/10"),
    ipaddress.ip_network("fd00:ec2::/32"),  # AWS over IPv6
    ipaddress.ip_network("100.100.100.200/32"),  # Alibaba Cloud
    ipaddress.ip_network("192.0.0.192/32"),  # Oracle Cloud
    ipaddress.ip_network("168.63.129.16/32"),  # Azure's wire server
]
METADATA_NAMES = {"metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
"""What clouds call them, where no name server here knows it and a proxy's may."""
NAT64 = ipaddress.ip_network("64:ff9b::/96")


def forbidden(text: str) -> bool:
    """Whether an address, or the IPv4 address inside it, is one that nobody's weights are at."""
    address: Address = ipaddress.ip_address(text.split("%", 1)[0])
    candidates: list[Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        candidates += [found for found in inner if found is not None]
        if address in NAT64:
            candidates.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return any(found.is_multicast or found.is_unspecified or any(found.version == net.version and found in net for net in METADATA) for found in candidates)


def resolve(host: str, port: int, field: str = SOURCE) -> list[Any]:
    """What a host resolves to, each address allowed. Raises InvalidSpec SourceAddressForbidden, socket.gaierror."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, place in found:
        if forbidden(str(place[0])):
            raise refused(host, field)
    return found


def refused(host: str, field: str = SOURCE) -> InvalidSpec:
    """The error for a host that is not asked."""
    return InvalidSpec("SourceAddressForbidden", f"{field}: {host} is a link-local or metadata address, which no weights are fetched from")


def check_behind_proxy(host: str, field: str = SOURCE) -> None:
    """What a proxy is asked for, and the proxy itself, must be allowed as far as it is known here. Raises InvalidSpec SourceAddressForbidden."""
    name = host.strip("[]")
    if name.rstrip(".").lower() in METADATA_NAMES:
        raise refused(host, field)
    try:
        resolve(name, 0, field)
    except (socket.gaierror, UnicodeError):
        return


def connected(connection: HTTPConnection) -> socket.socket:
    """A socket to one of the checked addresses of the host, or of the proxy where there is one."""
    field = SOURCE if connection.proxy is None else PROXY
    try:
        found = resolve(connection.host.strip("[]"), connection.port or connection.default_port, field)
    except (socket.gaierror, UnicodeError) as error:
        raise NameResolutionError(connection.host, connection, error if isinstance(error, socket.gaierror) else socket.gaierror()) from error
    failure: OSError = OSError("no address")
    for family, kind, protocol, _, place in found:
        opened = socket.socket(family, kind, protocol)
        try:
            if isinstance(connection.timeout, int | float):
                opened.settimeout(connection.timeout)
            for option in connection.socket_options or ():
                opened.setsockopt(*option)
            opened.connect(place)
        except OSError as error:
            failure = error
            opened.close()
        else:
            return opened
    raise NewConnectionError(connection, f"no connection: {failure}") from failure


class CheckedConnection(HTTPConnection):
    """http to checked addresses only."""

    def _new_conn(self) -> socket.socket:
        return connected(self)


class CheckedTlsConnection(HTTPSConnection):
    """https to checked addresses only; the certificate is still the name's."""

    def _new_conn(self) -> socket.socket:
        return connected(self)


class CheckedPool(HTTPConnectionPool):
    """See CheckedConnection."""

    ConnectionCls = CheckedConnection


class CheckedTlsPool(HTTPSConnectionPool):
    """See CheckedTlsConnection."""

    ConnectionCls = CheckedTlsConnection


class CheckedAwsConnection(AWSHTTPConnection):
    """The same as botocore connects."""

    def _new_conn(self) -> socket.socket:
        return connected(self)


class CheckedAwsTlsConnection(AWSHTTPSConnection):
    """See CheckedAwsConnection."""

    def _new_conn(self) -> socket.socket:
        return connected(self)


class CheckedAwsPool(AWSHTTPConnectionPool):
    """See CheckedAwsConnection."""

    ConnectionCls = CheckedAwsConnection


class CheckedAwsTlsPool(AWSHTTPSConnectionPool):
    """See CheckedAwsConnection."""

    ConnectionCls = CheckedAwsTlsConnection


def pool_manager(ca_bundle: str) -> PoolManager:
    """urllib3 that connects to checked addresses only, through no proxy, and follows no redirect by itself."""
    return checked(PoolManager(retries=False, ssl_context=trust.context(trust.merged(ca_bundle))))


def proxy_manager(through: str, proxy: Proxy, ca_bundle: str) -> PoolManager:
    """The same through a proxy, whose own address is checked. What it is asked for, `check_behind_proxy` is asked before."""
    login = make_headers(proxy_basic_auth=f"{proxy.username}:{proxy.password}") if proxy.username else {}
    return checked(ProxyManager(through, proxy_headers=login, retries=False, ssl_context=trust.context(trust.merged(ca_bundle, proxy.ca_bundle))))


def checked(manager: PoolManager) -> PoolManager:
    """A manager whose connections are checked."""
    manager.pool_classes_by_scheme = {"http": CheckedPool, "https": CheckedTlsPool}
    return manager


def check_connections(client: Any) -> None:
    """Have a botocore client connect to checked addresses only. What it asks for credentials, which may be the node, is another client.

    botocore has no public way to say how connections are made; a release without these attributes fails here, and nothing goes unchecked.
    """
    session = client._endpoint.http_session  # noqa: SLF001
    pools = {"http": CheckedAwsPool, "https": CheckedAwsTlsPool}
    session._manager.pool_classes_by_scheme = pools  # noqa: SLF001
    session._pool_classes_by_scheme.update(pools)  # noqa: SLF001  for the managers of proxies, which are made when they are needed
