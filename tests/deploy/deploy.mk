# Checks of what is deployed: k8s/, deploy/, Dockerfile, alerts, dashboard. `make test` includes `deploy-check`.

DEPLOY := target/deploy

.PHONY: deploy-check

## k8s/, the chart, CloudFormation, Dockerfile, alerts and dashboard: rendered, validated strictly, and each check shown to fail
deploy-check: $(DEPLOY)/ready
	PYTHONDONTWRITEBYTECODE=1 $(DEPLOY)/venv/bin/python -m pytest -q -p no:cacheprovider tests/deploy

$(DEPLOY)/ready: tests/deploy/requirements.txt tests/deploy/package.json tests/deploy/pod_security.mjs
	mkdir -p $(DEPLOY)/node
	command -v promtool > /dev/null || ($(APT) update && $(APT) install -y --no-install-recommends prometheus)
	command -v npm > /dev/null || ($(APT) update && $(APT) install -y --no-install-recommends nodejs npm)
	test -x $(DEPLOY)/venv/bin/python || python3 -m venv $(DEPLOY)/venv || ($(APT) update && $(APT) install -y python3-venv && python3 -m venv $(DEPLOY)/venv)
	$(DEPLOY)/venv/bin/python -m pip install --quiet --disable-pip-version-check -r tests/deploy/requirements.txt
	cp tests/deploy/package.json tests/deploy/pod_security.mjs $(DEPLOY)/node/
	npm install --silent --no-audit --no-fund --no-package-lock --prefix $(DEPLOY)/node
	touch $@
