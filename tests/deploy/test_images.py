"""Dockerfile and compose.yaml: linted, whole, and made of what the programs know. `make images-check` builds and runs them."""

import json
import pathlib
import re
import subprocess

import pytest
import yaml

import composition
import rendered
from pipeline import BIN

DOCKERFILE = rendered.ROOT / "Dockerfile"
COMPOSE = rendered.ROOT / "compose.yaml"
PROGRAMS = {"scheduler": "millwork-scheduler", "executor": "millwork-executor", "manifest-builder": "millwork-manifest-builder", "cli": "millwork"}
# Read by libraries, or by programs without an option.
OTHER = {
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_EC2_METADATA_DISABLED",
    "RUST_LOG",
    "MILLWORK_LOG",
    "TRACKING_TABLE",
    "LOCK_TABLE",
    "METRICS_TABLE",
    "RUNS_TABLE",
    "MANIFEST_BUCKET",
    "QUARANTINE_BUCKET",
    "OUTPUT_BUCKET",
    "DEAD_LETTER_QUEUE_URL",
    "MILLWORK_EXECUTOR_SECRET",
    "MILLWORK_TOKEN",
}


def hadolint(file):
    done = subprocess.run([rendered.TOOLS / "hadolint", file], capture_output=True, text=True, timeout=60)
    return done.stdout.splitlines()


def test_the_dockerfile_has_nothing_that_a_linter_minds():
    assert hadolint(DOCKERFILE) == []


@pytest.mark.parametrize(
    "right, wrong, code",
    [
        ("FROM ${RUST} AS build", "FROM rust:latest AS build", "DL3007"),
        ("WORKDIR /src", "WORKDIR src", "DL3000"),
        ("USER 65532:65532", "USER root", "DL3002"),
        ("COPY LICENSE", "ADD LICENSE", "DL3020"),
    ],
)
def test_a_wrong_dockerfile_is_found(right, wrong, code):
    file = rendered.WORK / "Dockerfile.wrong"
    file.write_text(DOCKERFILE.read_text().replace(right, wrong))
    assert any(code in line for line in hadolint(file)), hadolint(file)


def test_every_image_runs_its_own_program_as_nobody():
    text = DOCKERFILE.read_text()
    for target, program in PROGRAMS.items():
        (stage,) = re.findall(rf"^FROM common AS {target}\n(.*?)(?=^FROM|\Z)", text, re.M | re.S)
        assert f'ENTRYPOINT ["/usr/local/bin/{program}"]' in stage and f"/out/{program} " in stage
        assert "USER" not in stage and f'org.opencontainers.image.title="{program}"' in stage
    assert "USER 65532:65532" in text


def composed():
    return yaml.safe_load(COMPOSE.read_text())["services"]


def test_compose_builds_what_the_dockerfile_has():
    targets = {service["build"]["target"] for service in composed().values() if "target" in service["build"]}
    assert targets == set(PROGRAMS)
    for name, service in composed().items():
        if name not in ("aws", "bootstrap", "cli"):
            assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["user"] == "65532:65532", name


def test_compose_reads_its_file_strictly_and_asks_for_secrets_alone(tmp_path):
    secrets = {"MILLWORK_TOKEN": "t", "MILLWORK_EXECUTOR_SECRET": "s"}
    read = composition.compose("--profile", "tools", "config", "--format", "json", env=secrets)
    assert read.returncode == 0 and not read.stderr, read.stderr
    assert set(json.loads(read.stdout)["services"]) == set(composed())
    for name in secrets:
        missing = composition.compose("config", "--quiet", env={key: value for key, value in secrets.items() if key != name})
        assert missing.returncode != 0 and name in missing.stderr, missing.stderr
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("read_only:", "readonly:"))
    refused = composition.compose("config", "--quiet", env=secrets, files=(wrong,))
    assert refused.returncode != 0 and "readonly" in refused.stderr, refused.stderr


def known(program):
    """Variables that a program's help, with that of its commands, tells of."""
    path = pathlib.Path(BIN) / program
    text = subprocess.run([path, "--help"], capture_output=True, text=True, timeout=30).stdout
    commands = re.findall(r"^  ([a-z-]+)  ", text.partition("Commands:")[2], re.M)
    for command in commands:
        text += subprocess.run([path, command, "--help"], capture_output=True, text=True, timeout=30).stdout
    return set(re.findall(r"\[env:\s+([A-Z_]+)", text)) | OTHER


@pytest.fixture(scope="module")
def variables():
    return {program: known(program) for program in PROGRAMS.values()}


def test_programs_know_every_variable_of_compose(variables):
    for name, service in composed().items():
        if "target" in service["build"]:
            unknown = set(service.get("environment", {})) - variables[PROGRAMS[service["build"]["target"]]] - set().union(*variables.values())
            assert not unknown, f"{name}: {unknown}"


def test_programs_know_every_variable_of_their_pods(variables):
    anybody = set().union(*variables.values())
    for name in rendered.NAMES:
        items = rendered.objects(name)
        shared = {variable for item in items if item["kind"] == "ConfigMap" and "TRACKING_TABLE" in item["data"] for variable in item["data"]}
        assert shared <= anybody, f"{name}: no program knows {shared - anybody}"
        for pod, template, _ in rendered.pods(items):
            for container in template["spec"]["containers"]:
                program = container["image"].rpartition("/")[2].partition(":")[0].removeprefix("millwork-")
                own = {variable["name"] for variable in container.get("env", [])}
                assert own <= variables[PROGRAMS[program]], f"{name}: {pod}: {own - variables[PROGRAMS[program]]}"


def complaints(program, arguments):
    """What a program minds of its arguments, as far as its help tells."""
    words = [argument for argument in arguments if not argument.startswith("-")]
    asked = subprocess.run([pathlib.Path(BIN) / program, *words, "--help"], capture_output=True, text=True, timeout=30)
    if asked.returncode != 0:
        return [f"{program} {' '.join(words)}: {asked.stderr.strip().splitlines()[0]}"]
    options = set(re.findall(r"--[a-z-]+", asked.stdout))
    return [
        f"{program} {' '.join(words)} has no {option}"
        for option in (argument.partition("=")[0] for argument in arguments if argument.startswith("-"))
        if option not in options
    ]


def test_programs_take_the_arguments_of_their_pods():
    found = []
    for _, template, _ in rendered.pods(rendered.objects("prod")):
        for container in template["spec"]["containers"]:
            program = container["image"].rpartition("/")[2].partition(":")[0]
            found += complaints(PROGRAMS[program], container.get("args", []))
    assert not found, found


def test_an_argument_that_a_program_does_not_take_is_found():
    assert complaints("millwork-scheduler", ["--stat=dynamodb:a"]) and complaints("millwork-manifest-builder", ["swep"])


def test_a_variable_that_nobody_knows_is_found(variables):
    assert "MAX_CONCURENT_RUNS" not in set().union(*variables.values())
