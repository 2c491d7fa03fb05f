# SPDX-License-Identifier: Apache-2.0
"""Alert rules, judged by Prometheus's own tool."""

import subprocess
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = sorted(FOLDER.glob("*.rules.yml"))
RUNBOOK = FOLDER.parents[1] / "docs" / "monitoring.md"


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.name)
def test_the_rules_are_rules_and_do_what_their_tests_say(rules: Path) -> None:
    promtool("check", "rules", rules)
    promtool("test", "rules", rules.with_name(rules.name.replace(".rules", ".test")))


@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.name)
def test_every_alert_is_tested_and_has_a_cure(rules: Path) -> None:
    groups = yaml.safe_load(rules.read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    tests = yaml.safe_load(
        rules.with_name(rules.name.replace(".rules", ".test")).read_text()
    )["tests"]
    fired = {
        found["alertname"]
        for test in tests
        for found in test["alert_rule_test"]
        if found["exp_alerts"]
    }
    quiet = {
        found["alertname"]
        for test in tests
        for found in test["alert_rule_test"]
        if not found["exp_alerts"]
    }
    assert alerts == fired == quiet
    cures = RUNBOOK.read_text()
    assert {alert for alert in alerts if f"`{alert}`" not in cures} == set()
