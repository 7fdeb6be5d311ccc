"""Metrics and logs. That /metrics has what the docs name, and /healthz what is wrong, is test_operator.py's."""

import asyncio
import json
import subprocess
import sys

import pytest
from fake_api_server import TOKEN, ApiServer
from kubernetes.aio.client import ApiClient, Configuration
from prometheus_client import REGISTRY, CollectorRegistry

from http_server import free_port
from yolo_operator.controller import kinds, telemetry
from yolo_operator.controller.kube import Kube
from yolo_operator.core.errors import OperatorError


def test_resources_are_counted_anew_whenever_they_are_asked_for():
    conditions, queue = [("Ready", "True"), ("Ready", "False"), ("Ready", "True"), ("Stalled", "True")], ["helmet"]
    registry = CollectorRegistry()
    registry.register(telemetry.Resources(lambda: conditions, lambda: len(queue), lambda: {"Waiting": 7, "Updating": 3}))

    def count(condition: str, status: str) -> float | None:
        return registry.get_sample_value("yolo_operator_resources", {"condition": condition, "status": status})

    assert (count("Ready", "True"), count("Ready", "False"), count("Stalled", "True")) == (2, 1, 1)
    assert registry.get_sample_value("yolo_operator_queue_depth") == 1
    assert registry.get_sample_value("yolo_operator_image_updates", {"phase": "Waiting"}) == 7
    conditions.remove(("Stalled", "True"))
    queue.clear()
    assert count("Stalled", "True") is None
    assert registry.get_sample_value("yolo_operator_queue_depth") == 0


async def asked(host: str) -> bytes:
    """What /healthz answers where no address is set."""
    endpoint = telemetry.Endpoint(lambda: "")
    port = free_port()
    await endpoint.start("", port)
    try:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
    finally:
        await endpoint.stop()
    return answer


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_health_is_told_over_both_families(host):
    assert asyncio.run(asked(host)).endswith(b"ok\n")


def test_one_family_is_enough(monkeypatch):
    monkeypatch.setattr(telemetry, "EVERYWHERE", ("127.0.0.1", "192.0.2.1"))  # the second is nobody's: EADDRNOTAVAIL, as where IPv6 is off
    asyncio.run(asked("127.0.0.1"))


@pytest.mark.parametrize(("path", "code"), [("there", "200"), ("missing", "404"), ("unreachable", "none")])
def test_requests_are_counted_by_method_and_code(api: ApiServer, path, code):
    api.put(kinds.LEASE, {"metadata": {"name": "there", "namespace": "operators"}})
    address = "http://127.0.0.1:1" if path == "unreachable" else api.address

    def counted() -> float:
        return REGISTRY.get_sample_value("yolo_operator_api_requests_total", {"method": "GET", "code": code}) or 0

    async def ask() -> None:
        client = ApiClient(Configuration(host=address, api_key={"BearerToken": f"Bearer {TOKEN}"}))
        try:
            await Kube(client).get(kinds.LEASE, "operators", path)
        except OperatorError:
            assert path == "unreachable"
        finally:
            await client.close()

    before = counted()
    asyncio.run(ask())
    assert counted() == before + 1


def logged(form: str, level: str = "INFO") -> list[str]:
    """What a process of its own writes for some records."""
    code = f"""
import logging
from pathlib import Path
from yolo_operator.controller.telemetry import configure_logs
configure_logs({form!r}, {level!r})
log = logging.getLogger("yolo_operator.test")
log.debug("detail")
log.info('two\\nlines and a "quote"', extra={{"resource": "helmet", "path": Path("/tmp"), "kinds": {{"Pod"}}}})
logging.getLogger("kopf.objects").info("an event was seen")
logging.getLogger("aiohttp.access").info("GET /healthz")
try:
    raise ValueError("of a pass")
except ValueError:
    log.exception("pass failed")
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.splitlines()


def test_every_record_is_one_line_and_one_json_object_whatever_is_in_it():
    info, error = [json.loads(line) for line in logged("json")]
    assert (info["level"], info["logger"], info["message"]) == ("INFO", "yolo_operator.test", 'two\nlines and a "quote"')
    assert (info["resource"], info["path"]) == ("helmet", "/tmp")
    assert error["message"] == "pass failed"
    assert "ValueError: of a pass" in error["exc_info"]


def test_the_level_is_the_settings():
    messages = [json.loads(line)["message"] for line in logged("json", "DEBUG")]
    assert messages[0] == "detail"
    assert not [message for message in messages if "event" in message or "GET" in message], "not kopf's, not the kubelet's"
    assert [json.loads(line)["message"] for line in logged("json", "ERROR")] == ["pass failed"]


def test_text_is_for_the_eye():
    first = logged("text")[0]
    assert first.endswith("INFO    yolo_operator.test: two")
