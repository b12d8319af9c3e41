"""For each alert its fault is made to happen, and the alert fires over what is really scraped.

Exchange, network, broker, database, disk and process are real and really fail. One fault cannot
be made from outside, because it would be a defect of ours: for WsGatewayEventsUnaccounted the
defect is put into a real gateway, which then really loses events.
"""

from __future__ import annotations

import pytest

from support.alert_proof import ALERTS, Proof, metrics_of
from support.alert_stage import SCENES, Scene
from support.alert_thresholds import THRESHOLDS
from support.site import Site


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_the_fault_of_each_alert_makes_it_fire(scene: Scene, site: Site) -> None:
    """The metric crosses its threshold, and the rule fires over the scrapes before and within."""
    proof = Proof()
    await scene(site, proof)
    assert set(proof.crossed) == set(SCENES[scene])
    proof.check(site.folder)


def test_every_alert_has_a_scene_in_which_its_fault_happens() -> None:
    """And no scene is about an alert that is no more."""
    shown = [alert for alerts in SCENES.values() for alert in alerts]
    assert sorted(shown) == sorted(ALERTS)
    assert {*THRESHOLDS, "WsGatewayAbsent"} == set(ALERTS)


def test_every_threshold_looks_at_a_metric_of_its_rule() -> None:
    """Else it could be crossed while the rule is about something else."""
    for alert, threshold in THRESHOLDS.items():
        read = {
            word
            for cell in threshold.__closure__ or ()
            if isinstance(word := cell.cell_contents, str)
        }
        assert any(name in metrics_of(alert) for name in read), (alert, read)
