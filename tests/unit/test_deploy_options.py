"""What a site may add (accounts, recordings, TLS), and the broker's user of the gateway.

No container engine runs here, so this looks at what the files say: that they fit what they are laid
over, that the gateway takes the settings, and that nothing they name is missing.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.tls import Authority
from ws_gateway.config import Settings
from ws_gateway.delivery.topology import Names
from ws_gateway.domain.topic import EventClass
from ws_gateway.settings_source import load_settings

CHECKOUT = Path(__file__).resolve().parents[2]
DEPLOY = CHECKOUT / "deploy"
OPTIONS = ("accounts", "recording", "tls")
DEFINITIONS = DEPLOY / "rabbitmq" / "definitions.template.json"
PAGE = CHECKOUT / "docs" / "deploy.md"


def read(path: Path) -> dict[str, Any]:
    """Read the one document of a file."""
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def taken(environ: dict[str, str], folder: Path) -> Settings:
    """Let the gateway read settings, with a file of our own for each secret they name."""
    made = Authority.made(folder / "authority")
    texts = {
        "accounts": '{"hedge": {"api_key": "k2", "api_secret": "s2"}}',
        "amqp_url": "amqp://gateway:x@rabbitmq:5672/",
        "database_url": "postgresql://gateway:x@postgres:5432/gateway",
        "http_certificate": made.certificate_file.read_text(encoding="utf-8"),
        "tls.crt": made.certificate_file.read_text(encoding="utf-8"),
        "http_key": made.key_file.read_text(encoding="utf-8"),
        "tls.key": made.key_file.read_text(encoding="utf-8"),
    }
    files: dict[str, str] = {}
    for name, value in environ.items():
        if not value.startswith("/run/secrets/"):
            files[name] = value
            continue
        secret = Path(value).name
        file = folder / secret
        file.write_text(texts.get(secret, f"{secret}-0123456789"), encoding="utf-8")
        files[name] = str(file)
    return load_settings(files)


def check_options(settings: Settings) -> None:
    """Each option took effect."""
    assert settings.account_names == ("main", "hedge")
    assert settings.record_dir == Path("/var/lib/ws-gateway/recordings")
    assert not settings.record_private
    assert settings.http_scheme == "https"


def test_every_option_of_compose_fits_what_it_is_laid_over(tmp_path: Path) -> None:
    """Services and secrets exist; together with the base the gateway takes the settings."""
    base = read(CHECKOUT / "compose.yaml")
    environ = dict(base["services"]["gateway"]["environment"], WSG_BYBIT_ENVIRONMENT="mainnet")
    secrets = dict(base["secrets"])
    assert {one.stem for one in (DEPLOY / "compose").iterdir()} == set(OPTIONS)
    for name in OPTIONS:
        option = read(DEPLOY / "compose" / f"{name}.yaml")
        secrets |= option.get("secrets", {})
        for service, added in option["services"].items():
            assert service in base["services"], name
            assert set(added.get("secrets", [])) <= set(secrets), name
        gateway = option["services"]["gateway"]
        for value in gateway["environment"].values():
            if str(value).startswith("/run/secrets/"):
                assert Path(value).name in gateway["secrets"], value
        environ |= gateway["environment"]
    assert all(one["file"].startswith("./deploy/secrets/") for one in secrets.values())
    check_options(taken(environ, tmp_path))


def test_prometheus_over_tls_asks_for_the_same_as_without() -> None:
    """But for the scheme and who vouches for it."""
    plain = read(DEPLOY / "prometheus" / "prometheus.yml")
    over_tls = read(DEPLOY / "prometheus" / "prometheus-tls.yml")
    (job,) = over_tls["scrape_configs"]
    assert (job.pop("scheme"), job.pop("tls_config")) == (
        "https",
        {"ca_file": "/run/secrets/http_ca"},
    )
    assert over_tls == plain
    option = read(DEPLOY / "compose" / "tls.yaml")["services"]["prometheus"]
    base = read(CHECKOUT / "compose.yaml")["services"]["prometheus"]
    assert option["secrets"] == ["http_ca"]
    changed = [(a, b) for a, b in zip(base["command"], option["command"], strict=True) if a != b]
    assert changed == [
        (
            "--config.file=/etc/prometheus/prometheus.yml",
            "--config.file=/etc/prometheus/prometheus-tls.yml",
        )
    ]


def merged(base: Any, patch: Any) -> Any:
    """Lay a patch over a manifest as kustomize does, as far as ours need it."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return base | {key: merged(base.get(key), value) for key, value in patch.items()}
    if isinstance(base, list) and isinstance(patch, list):
        word = next(word for word in ("mountPath", "name") if word in patch[0])
        by_word = {one[word]: one for one in base}
        for one in patch:
            by_word[one[word]] = merged(by_word.get(one[word]), one)
        return list(by_word.values())
    return patch


def test_every_option_of_kubernetes_fits_what_it_is_laid_over(tmp_path: Path) -> None:
    """It patches what is there, all its mounts have volumes, and the probes follow TLS."""
    folder = DEPLOY / "kubernetes"
    whole = read(folder / "gateway.yaml")
    listed = (folder / "kustomization.yaml").read_text(encoding="utf-8")
    for name in OPTIONS:
        component = read(folder / "components" / name / "kustomization.yaml")
        assert component["kind"] == "Component"
        assert f"#   - components/{name}\n" in listed
        (patch_of,) = component["patches"]
        patch = read(folder / "components" / name / patch_of["path"])
        for word in ("apiVersion", "kind"):
            assert patch[word] == whole[word]
        assert patch["metadata"]["name"] == whole["metadata"]["name"]
        whole = merged(whole, patch)
    pod = whole["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    volumes = {one["name"] for one in pod["volumes"]} | {"data"}
    assert {one["name"] for one in container["volumeMounts"]} == volumes
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["scheme"] == "HTTPS"
        assert container[probe]["httpGet"]["path"] in {"/livez", "/readyz"}
    places = [one["mountPath"] for one in container["volumeMounts"]]
    environ = {one["name"]: one["value"] for one in container["env"]}
    assert len(environ) == len(container["env"])
    for value in environ.values():
        assert not value.startswith("/") or any(value.startswith(f"{one}/") for one in places)
    check_options(taken(environ, tmp_path))


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_written_down(name: str) -> None:
    """A file that no page names is found by nobody."""
    text = PAGE.read_text(encoding="utf-8")
    assert f"deploy/compose/{name}.yaml" in text
    assert f"components/{name}" in text


def test_the_gateways_user_of_the_broker_is_no_administrator() -> None:
    """It may do what it must on what bears its prefix, and nothing beside."""
    definitions = json.loads(DEFINITIONS.read_text(encoding="utf-8"))
    users = {one["name"]: one for one in definitions["users"]}
    assert users["gateway"]["tags"] == ""
    (granted,) = [one for one in definitions["permissions"] if one["user"] == "gateway"]
    names = Names("ws-gateway")
    ours = [names.exchange, *names.queues(), names.dedicated("strategy-1", EventClass.ORDER)]
    others = [
        "amq.topic",
        "",
        "billing",
        "ws-gateway2.events",
        "x.ws-gateway.events",
        "ws-gatewayX",
    ]
    for what in ("configure", "write", "read"):
        # The broker searches, so what is not anchored would fit in the middle as well.
        assert all(re.search(granted[what], one) for one in ours), what
        assert not any(re.search(granted[what], one) for one in others), what
    said = (CHECKOUT / "docs" / "security.md").read_text(encoding="utf-8")
    assert f"`{granted['configure']}`" in said


def test_the_steps_fill_in_every_password_of_the_definitions() -> None:
    """And no user is made by hand with more than it needs."""
    steps = PAGE.read_text(encoding="utf-8")
    for place in set(re.findall(r"@\w+@", DEFINITIONS.read_text(encoding="utf-8"))):
        assert place in steps, place
    assert "administrator" not in steps.replace("`operator` is administrator", "")
