"""What the watches have missed is found by the resync, with the rights that the chart gives and no others."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_kube_config

from e2e import account
from e2e.cluster import Cluster, Manifest
from yolo_operator.controller import kinds, resync
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.kube import Kube
from yolo_operator.controller.queue import Queue
from yolo_operator.controller.resync import Resync


def test_a_cache_that_no_watch_has_filled_is_filled(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resync, "GRACE_SECONDS", 0.1)
    cluster.apply(yolo(namespace))
    cluster.wait("the build's Pod", lambda: cluster.list("pods", namespace))
    expected = {kinds.YOLO, kinds.SERVICE, kinds.JOB, kinds.POD}
    cache = Cache()

    async def main() -> None:
        configuration = Configuration()
        await load_kube_config(config_file=str(account.kubeconfig(cluster, tmp_path)), client_configuration=configuration)
        async with ApiClient(configuration) as client:
            task = asyncio.create_task(Resync(kube=Kube(client), cache=cache, queue=Queue[Key](), namespaces=(namespace,), pause=0.1).run())
            async with asyncio.timeout(30):
                while not all(list(cache.all(kind)) for kind in expected):  # noqa: ASYNC110  tests look from outside
                    await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert cache.get(kinds.YOLO, Key(namespace, "model"))
