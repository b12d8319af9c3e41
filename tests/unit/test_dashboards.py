"""The dashboards ask for what there is, show all of it, and name apart what is apart."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import yaml

import dashboards
from dashboard_bybit import WEBSOCKET_STATE
from dashboard_pages import DASHBOARDS, NOT_SHOWN
from dashboard_panel import WIDE
from support.memory_gateway import Gateway
from support.needs import skip_without
from support.panels import PROCESS, asked_of, every_panel, labels_of, metrics_in
from support.scraped import scrape
from ws_gateway.control.connection_schemas import WebsocketState
from ws_gateway.control.metrics.table import METRICS

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / "deploy" / "grafana" / "dashboards"
LABELS = {metric.full_name: {*metric.labels, "le"} for metric in METRICS}
UNITS = {"short", "ops", "s", "bytes", "percentunit"}

IMPLIED = {"endpoint": {"connection", "shard"}, "shard": {"connection"}, "service": {"queue"}}
"""Labels that say nothing more where another is told: a connection is of one endpoint."""

COLUMNS = {
    "name": "Connection",
    "connection_status": "State",
    "environment": "Environment",
    "category": "Endpoint",
    "account": "Account",
    "connection_duration_seconds": "Connected for",
    "last_heartbeat_at": "Last heartbeat",
    "reconnection_count": "Reconnects",
    "last_error": "Last error",
    "active_subscriptions": "Active topics",
    "breaker": "Breaker",
    "wanted_subscriptions": "Wanted topics",
    "last_event_at": "Last event",
    "retry_at": "Next attempt in",
}
"""Where the page of connections shows each field of `websocket_state`."""


def test_what_is_committed_is_what_the_description_says() -> None:
    """After a change of the description the files are made anew and committed with it."""
    assert len(list(FOLDER.iterdir())) == len(DASHBOARDS)
    for dashboard in DASHBOARDS:
        name = dashboard.uid.removeprefix("ws-gateway-")
        written = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
        assert written == dashboards.rendered(dashboard), "run: make contract"


def test_no_panel_covers_another_and_each_has_a_number_and_a_title_of_its_own() -> None:
    """Grafana would draw one over the other, or open the wrong one by its number."""
    for dashboard in DASHBOARDS:
        panels = dashboards.rendered(dashboard)["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        assert len({panel["title"] for panel in panels}) == len(panels), dashboard.title
        taken: set[tuple[int, int]] = set()
        for panel in panels:
            at = panel["gridPos"]
            assert at["x"] + at["w"] <= WIDE
            cells = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            assert not cells & taken, panel["title"]
            taken |= cells


def test_every_panel_asks_the_chosen_source_for_the_chosen_gateway() -> None:
    """Both are variables of the page; several gateways are not added up."""
    for dashboard in DASHBOARDS:
        variables = dashboards.rendered(dashboard)["templating"]["list"]
        assert [(one["name"], one["type"]) for one in variables] == [
            ("datasource", "datasource"),
            ("instance", "query"),
        ]
    for _, panel, read in every_panel():
        assert read["fieldConfig"]["defaults"]["unit"] in UNITS
        assert len(read["targets"]) <= 26, "each has a letter"
        for one in (read, *read["targets"]):
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in read["targets"]:
            asked = re.findall(r"(?:ws_gateway[_:]|process_)[\w:]+(.{0,12})", target["expr"])
            assert asked or panel.is_of_all
            assert all(after.startswith('{instance="') for after in asked), target["expr"]


def test_the_source_that_is_provisioned_is_the_one_a_page_begins_with() -> None:
    """And it knows how often there is a scrape, of which rates are made."""
    provisioning = CHECKOUT / "deploy" / "grafana" / "provisioning" / "datasources"
    (source,) = yaml.safe_load((provisioning / "prometheus.yml").read_text("utf-8"))["datasources"]
    config = yaml.safe_load((CHECKOUT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == config["global"]["scrape_interval"] == "1s"
    assert source["uid"] == "prometheus"
    compose = yaml.safe_load((CHECKOUT / "compose.yaml").read_text("utf-8"))
    least = compose["services"]["grafana"]["environment"]["GF_DASHBOARDS_MIN_REFRESH_INTERVAL"]
    assert least == dashboards.REFRESH


async def test_every_metric_is_on_a_page_or_named_as_not() -> None:
    """Nothing that is told is overlooked: spool, back-fill and recording were."""
    asked = {
        name for _, panel, _ in every_panel() for one in panel.asked for name in metrics_in(one)
    }
    told = {metric.full_name for metric in METRICS} | PROCESS
    assert asked - {"up"} | set(NOT_SHOWN) == told
    assert not asked & set(NOT_SHOWN)
    assert "up" in asked
    assert all(NOT_SHOWN.values())
    gateway = Gateway()
    async with gateway.http:
        families = (await scrape(gateway.http)).families
    assert {name for name in families if name.startswith("process_")} == PROCESS


def test_every_label_that_is_asked_for_is_one_of_its_metric() -> None:
    """In what is chosen, in what is added up by, in legends and in columns."""
    for _, panel, _ in every_panel():
        for query in panel.asked:
            known = set().union(*(LABELS.get(name, set()) for name in metrics_in(query)))
            known |= {"job", "instance", "breaker" if "label_replace" in query else "le"}
            chosen = set(re.findall(r"(\w+)(?:=~?|!=)\"", query))
            added = {
                each.strip()
                for one in re.findall(r"(?:by|on|group_left) \(([^)]*)\)", query)
                for each in one.split(",")
            }
            assert chosen | added <= known, query
        for query, legend in panel.queries:
            assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= labels_of(query), legend
        for column in panel.columns:
            assert not column.label or column.label in labels_of(column.query), column.title


def test_what_differs_by_a_label_is_named_by_it() -> None:
    """Two accounts' connections had one name, and nobody could tell whose line it was."""
    for dashboard, panel, _ in every_panel():
        for query, legend in panel.queries:
            named = set(re.findall(r"\{\{(\w+)\}\}", legend))
            needed = {
                label
                for label in labels_of(query)
                if label not in named and not IMPLIED.get(label, set()) & named
            }
            assert not needed, (dashboard.title, panel.title, needed)


def test_the_connections_page_shows_the_whole_state_of_a_connection() -> None:
    """Every field that /health has of one; of few of them there was a panel."""
    assert set(COLUMNS) == set(WebsocketState.model_fields)
    titles = {column.title for column in WEBSOCKET_STATE.columns}
    assert set(COLUMNS.values()) <= titles


def test_a_table_joins_its_answers_by_labels_that_all_of_them_have() -> None:
    """Grafana joins rows by what two answers have in common, and a metric's name is in its way."""
    for _, panel, read in every_panel():
        if read["type"] != "table":
            continue
        assert panel.columns
        assert not panel.queries
        shared = set.intersection(*(labels_of(query) for query in panel.asked))
        assert len(panel.asked) == 1 or shared == {"connection", "endpoint", "account"}
        own = [labels_of(query) - shared for query in panel.asked]
        assert sum(map(len, own)) == len(set().union(*own)), "two answers say one label differently"
        merge, organize = read["transformations"]
        assert (merge["id"], organize["id"]) == ("merge", "organize")
        assert set(organize["options"]["renameByName"].values()) == {
            column.title for column in panel.columns
        }
        assert all(re.search(r"\b(max|sum) by \(", query) for query in panel.asked)


def test_promtool_can_read_every_query(tmp_path: Path) -> None:
    """As if each were a rule, because that is what promtool reads."""
    promtool = shutil.which("promtool")
    if promtool is None:
        skip_without("promtool", "queries are read by it")
    queries = [
        asked_of(one["expr"], "x:1") for _, _, read in every_panel() for one in read["targets"]
    ]
    rules = [{"record": f"panel:{n}", "expr": query} for n, query in enumerate(queries)]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), "utf-8")
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=none", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
