"""How addresses stand in URLs."""


def url_host(address: str) -> str:
    """A host name or an address, as it stands in a URL: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address
