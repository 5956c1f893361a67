"""Every cluster IP has an IPAddress, ranges can be added and taken away, and a written-down address is nobody else's."""

from __future__ import annotations

from typing import Any

import pytest

from edgekube.errors import Invalid, NotFound

MANAGED = {"ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}


def a_service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


async def recorded(cluster: Any, address: str) -> Any:
    try:
        return await cluster.get("ipaddresses", address)
    except NotFound:
        return None


async def test_a_service_s_address_is_written_down_put_right_and_forgotten(autojump_clock: Any, cluster: Any) -> None:
    address = (await cluster.create("services", a_service("s"))).spec.cluster_ip

    async def there() -> Any:
        return await recorded(cluster, address)

    found = await cluster.until(there)
    assert found.metadata.labels == MANAGED
    parent = found.spec.parent_ref
    assert (parent.resource, parent.namespace, parent.name) == ("services", "default", "s")
    await cluster.delete("ipaddresses", address)
    assert (await cluster.until(there)).metadata.uid != found.metadata.uid
    await cluster.delete("services", "s")

    async def gone() -> bool:
        return await recorded(cluster, address) is None

    assert await cluster.until(gone)


async def test_an_address_that_somebody_wrote_down_is_given_to_no_service(autojump_clock: Any, cluster: Any) -> None:
    spec = {"parentRef": {"resource": "gateways", "name": "g"}}
    await cluster.create("ipaddresses", {"metadata": {"name": "10.43.7.7"}, "spec": spec})
    with pytest.raises(Invalid, match="provided IP is already allocated"):
        await cluster.create("services", a_service("s", clusterIP="10.43.7.7"))
    assert await recorded(cluster, "10.43.7.7") is not None


async def test_a_second_range_gives_addresses_and_stays_while_they_are_used(autojump_clock: Any, cluster: Any) -> None:
    with pytest.raises(Invalid, match="not in the valid range"):
        await cluster.create("services", a_service("early", clusterIP="10.99.0.9"))
    await cluster.create("servicecidrs", {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.99.0.0/28"]}})

    async def ready() -> Any:
        found = await cluster.get("servicecidrs", "more")
        return found.metadata.finalizers and found.status.conditions and found.status.conditions[0].status == "True"

    await cluster.until(ready)
    made = await cluster.create("services", a_service("s", clusterIP="10.99.0.9"))
    assert made.spec.cluster_ips == ["10.99.0.9"]

    async def written() -> Any:
        return await recorded(cluster, "10.99.0.9")

    await cluster.until(written)
    await cluster.delete("servicecidrs", "more")

    async def waiting() -> Any:
        conditions = (await cluster.get("servicecidrs", "more")).status.conditions
        return conditions[0].reason == "Terminating" and conditions[0]

    assert "There are still IPAddresses" in (await cluster.until(waiting)).message
    await cluster.delete("services", "s")

    async def gone() -> bool:
        try:
            await cluster.get("servicecidrs", "more")
        except NotFound:
            return True
        return False

    assert await cluster.until(gone)
