"""Rules, alerts and dashboard: they parse, fire when they must, have a chapter to read, and ask for metrics that are there."""

import json
import re
import subprocess

import promql_parser
import pytest
import yaml

import rendered

MONITORS = rendered.K8S / "components" / "monitors"
RULES = rendered.WORK / "rules" / "rules.yaml"
# Metrics of others: Kubernetes and cert-manager.
FOREIGN = {"kube_job_status_failed", "kube_pod_container_status_waiting_reason", "certmanager_certificate_expiration_timestamp_seconds"}


@pytest.fixture(scope="module")
def rules():
    spec = yaml.safe_load((MONITORS / "rules.yaml").read_text())["spec"]
    RULES.parent.mkdir(parents=True, exist_ok=True)
    RULES.write_text(yaml.safe_dump(spec, width=1000))
    return [rule for group in spec["groups"] for rule in group["rules"]]


def promtool(*arguments):
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=120, cwd=RULES.parent)
    return done.returncode, done.stdout + done.stderr


def test_rules_are_valid(rules):
    code, said = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert code == 0, said


def test_a_rule_that_does_not_parse_is_found(rules):
    wrong = RULES.with_name("wrong.yaml")
    wrong.write_text(RULES.read_text().replace("max by (namespace) (millwork_leader) < 1", "max by (namespace (millwork_leader) < 1"))
    assert promtool("check", "rules", wrong)[0] != 0


def test_each_alert_fires_when_it_must_and_only_then(rules):
    cases = (rendered.ROOT / "tests" / "deploy" / "alerts.test.yaml").read_text()
    (RULES.parent / "alerts.test.yaml").write_text(cases)
    code, said = promtool("test", "rules", "alerts.test.yaml")
    assert code == 0, said
    names = {rule["alert"] for rule in rules if "alert" in rule}
    tested = {test["name"].removesuffix(" fires") for test in yaml.safe_load(cases)["tests"] if test["name"].endswith(" fires")}
    quiet = {test["name"].removesuffix(" stays quiet") for test in yaml.safe_load(cases)["tests"] if test["name"].endswith(" stays quiet")}
    assert tested == quiet == names


def test_an_alert_that_does_not_fire_is_found(rules):
    cases = yaml.safe_load((rendered.ROOT / "tests" / "deploy" / "alerts.test.yaml").read_text())
    cases["tests"] = [test for test in cases["tests"] if test["name"] == "MillworkStuckLocks fires"]
    cases["rule_files"] = ["deaf.yaml"]
    (RULES.parent / "deaf.yaml").write_text(RULES.read_text().replace("(millwork_stuck_locks) > 0", "(millwork_stuck_locks) > 1"))
    (RULES.parent / "deaf.test.yaml").write_text(yaml.safe_dump(cases))
    assert promtool("test", "rules", "deaf.test.yaml")[0] != 0


def anchors(path):
    """Anchors of the headings of a document."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.M)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_each_alert_says_how_bad_it_is_and_where_to_read(rules):
    for rule in (rule for rule in rules if "alert" in rule):
        name = rule["alert"]
        assert rule["for"] and rule["labels"]["severity"] in ("page", "ticket"), name
        assert rule["annotations"]["summary"] and rule["annotations"]["description"], name
        document, _, anchor = rule["annotations"]["runbook_url"].removeprefix("https://example.com/millwork/").partition("#")
        assert anchor in anchors(rendered.ROOT / document), f"{name}: {document} has no chapter {anchor}"


def names_in(expression):
    """Names of metrics in an expression, by Prometheus's own grammar."""
    found = set()

    def walk(node):
        if isinstance(node, promql_parser.VectorSelector) and node.name:
            found.add(node.name)
        for field in ("expr", "lhs", "rhs", "param", "vector_selector", "vs"):
            child = getattr(node, field, None)
            if child is not None:
                walk(child)
        for child in getattr(node, "args", None) or []:
            walk(child)

    walk(promql_parser.parse(expression))
    return found


def dashboard_expressions():
    dashboard = json.loads((MONITORS / "millwork.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m").replace("$namespace", "m")


def unknown(names, rules, metrics):
    recorded = {rule["record"] for rule in rules if "record" in rule}
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}
    return {name for name in bare if name not in metrics and name not in recorded and name not in FOREIGN}


def documented():
    """Names in docs/metrics.md, which a test of the services compares with what they show."""
    document = rendered.ROOT / "docs" / "metrics.md"
    return set(re.findall(r"`((?:millwork|process)_[a-z0-9_]+)", document.read_text()))


def test_every_expression_of_the_dashboard_parses(rules):
    names = set().union(*(names_in(expression) for _, expression in dashboard_expressions()))
    assert "millwork_task_duration_seconds_bucket" in names and len(names) > 25


@pytest.mark.parametrize("expression", ["sum(rate(a[5m])", "rate(a)", "sum by (a) b)"])
def test_an_expression_that_does_not_parse_is_found(expression):
    with pytest.raises(ValueError):
        names_in(expression)


def test_every_metric_that_is_asked_for_is_there(rules):
    names = set().union(*(names_in(expression) for _, expression in dashboard_expressions()))
    names |= set().union(*(names_in(rule["expr"]) for rule in rules))
    assert unknown(names, rules, documented()) == set()


def test_a_metric_that_is_not_there_is_found(rules):
    assert unknown({"millwork_leader", "millwork_laeder"}, rules, documented()) == {"millwork_laeder"}


def test_the_dashboard_is_whole():
    dashboard = json.loads((MONITORS / "millwork.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert [panel["type"] for panel in panels].count("row") == 3
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, f"{panel['title']} overlaps or leaves the page"
        taken |= cells
        assert panel["type"] == "row" or (panel["description"] and panel["datasource"]["uid"] == "${datasource}")
