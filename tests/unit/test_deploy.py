"""The descriptions of images and manifests hold what they promise, and name nothing that is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ws_gateway.config import PREFIX, Settings

CHECKOUT = Path(__file__).resolve().parents[2]
KUBERNETES = CHECKOUT / "deploy" / "kubernetes"
FILES = [
    CHECKOUT / "Dockerfile",
    CHECKOUT / "compose.yaml",
    *sorted((CHECKOUT / "deploy" / "compose").iterdir()),
    *sorted(KUBERNETES.rglob("*.yaml")),
]
PROBES = {"liveness": "/livez", "readiness": "/readyz", "startup": "/livez"}


def _documents(path: Path) -> Iterator[dict[str, Any]]:
    yield from yaml.safe_load_all(path.read_text("utf-8"))


@pytest.mark.parametrize(
    "path", FILES, ids=[str(each.relative_to(CHECKOUT)).replace("/", "-") for each in FILES]
)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    """An unknown one would be an error at the start of the gateway."""
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", path.read_text("utf-8")))
    known = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}
    assert named <= known | {f"{each}_FILE" for each in known}


def test_the_image_runs_as_nobody_in_particular() -> None:
    """A fixed number, a signal that drains, a health check by the gateway's own command."""
    text = (CHECKOUT / "Dockerfile").read_text("utf-8")
    last = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert "STOPSIGNAL SIGTERM" in last
    assert 'CMD ["ws-gateway", "doctor", "--alive"]' in last
    assert "pip install" not in last
    assert "--require-hashes" in text
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for source in copied.split():
            assert (CHECKOUT / source).exists(), source


def test_every_service_of_compose_is_bound_in() -> None:
    """Read-only, without capabilities, healthy before others start, secrets as files."""
    (compose,) = _documents(CHECKOUT / "compose.yaml")
    assert set(compose["services"]) == {"gateway", "postgres", "rabbitmq", "prometheus", "grafana"}
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert name == "gateway" or "healthcheck" in service, name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for secret in service.get("secrets", []):
            source = secret if isinstance(secret, str) else secret["source"]
            assert source in compose["secrets"], name
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            there = (CHECKOUT / source).exists() if source.startswith(".") else False
            assert there or source in compose["volumes"], volume
        for needed in service.get("depends_on", []):
            assert needed in compose["services"]


def test_what_is_put_into_a_read_only_container_is_a_file_that_its_user_can_read() -> None:
    """Compose refuses a config written in place there; a secret's file keeps its owner and mode."""
    (compose,) = _documents(CHECKOUT / "compose.yaml")
    for name, config in compose["configs"].items():
        assert (CHECKOUT / config["file"]).is_file(), name
    steps = (CHECKOUT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert "chmod 0444 *" in steps
    assert "umask 077" not in steps


def test_the_pod_is_probed_bound_in_and_not_evicted() -> None:
    """Liveness looks at the process alone; readiness at data."""
    found = {
        document["kind"]: document
        for path in KUBERNETES.glob("*.yaml")
        for document in _documents(path)
    }
    pod = found["StatefulSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {name: container[f"{name}Probe"]["httpGet"]["path"] for name in PROBES} == PROBES
    assert pod["terminationGracePeriodSeconds"] >= 10
    labels = found["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    listed = set(found["Kustomization"]["resources"])
    assert listed == {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    volumes = {volume["name"] for volume in pod["volumes"]} | {
        claim["metadata"]["name"] for claim in found["StatefulSet"]["spec"]["volumeClaimTemplates"]
    }
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
