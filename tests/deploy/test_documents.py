"""docs/kubernetes.md and docs/alerts.md name what is there."""

import re

import yaml

import rendered

KUBERNETES = (rendered.ROOT / "docs" / "kubernetes.md").read_text()
ALERTS = (rendered.ROOT / "docs" / "alerts.md").read_text()


def test_every_path_is_there():
    paths = set(re.findall(r"\b((?:k8s|chart|deploy/aws|tests)/[\w./-]*[\w/])", KUBERNETES + ALERTS))
    assert len(paths) > 10
    missing = {path for path in paths if not (rendered.ROOT / path).exists()}
    assert not missing, missing


def test_every_component_is_told_of():
    for component in (rendered.K8S / "components").iterdir():
        assert f"`{component.name}`" in KUBERNETES, component.name


def test_every_alert_has_its_chapter_and_every_chapter_its_alert():
    rules = yaml.safe_load((rendered.K8S / "components" / "monitors" / "rules.yaml").read_text())
    names = {rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule}
    assert set(re.findall(r"^### (\w+)$", ALERTS, re.M)) == names


def test_links_lead_somewhere():
    for document in ("kubernetes.md", "alerts.md"):
        text = (rendered.ROOT / "docs" / document).read_text()
        for path, anchor in re.findall(r"\]\(([\w.]*)(?:#([\w-]+))?\)", text):
            target = rendered.ROOT / "docs" / (path or document)
            assert target.exists(), path
            titles = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", target.read_text(), re.M)}
            assert not anchor or anchor in titles, f"{document}: {path}#{anchor}"
