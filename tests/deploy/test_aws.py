"""deploy/aws/millwork.yaml: valid, the same things as `millwork bootstrap aws` makes, and rights that are used, all of them and no more."""

import copy
import fnmatch
import json
import subprocess

import parliament
import pytest
import yaml

import pipeline as pipelines
import rendered
from recorder import IAMPolicy, PermissionResult
from stack import ROLES, TEMPLATE, Account

PREFIX = pipelines.PREFIX
# Rights that no ordinary day uses, and why they are there.
RARE = {
    ("builder", "s3:AbortMultipartUpload", "quarantine/*"): "a copy of more than 5 GiB is made in parts, and ended if it fails",
    ("builder", "s3:GetObject", "manifests/*"): "a sweep reads a document that a dead builder may have written",
    ("builder", "s3:ListBucket", "manifests"): "and has to be told if it is not there",
    ("builder", "sqs:ChangeMessageVisibility", "input"): "work that takes long, messages that are put off, and those that are given back at the end",
    ("builder", "sqs:GetQueueAttributes", "input"): "where the queue for dead letters is not named, and for its depth",
    ("builder", "sqs:GetQueueAttributes", "input-dead-letters"): "the number of dead letters",
    ("builder", "sqs:GetQueueUrl", "input-dead-letters"): "where the queue for dead letters is not named",
    ("scheduler", "s3:ListBucket", "input"): "a file of a manifest that is gone",
    ("scheduler", "s3:ListBucket", "manifests"): "a manifest that is gone",
    ("scheduler", "s3:ListBucketMultipartUploads", "output"): "uploads that an executor began and did not live to note",
    ("scheduler", "s3:ListBucketMultipartUploads", "quarantine"): "the same of rejected lines",
    ("scheduler", "s3:AbortMultipartUpload", "output/*"): "uploads of attempts that died",
    ("scheduler", "s3:AbortMultipartUpload", "quarantine/rejected-lines/*"): "the same of rejected lines",
    ("scheduler", "s3:ListMultipartUploadParts", "quarantine/rejected-lines/*"): "rejected lines that are uploaded in parts",
    ("scheduler", "s3:DeleteObject", "quarantine/rejected-lines/*"): "rejected lines of an output that is replaced",
    ("scheduler", "s3:DeleteObject", "output/*"): "an output that is replaced, and private notes",
    ("scheduler", "sqs:ChangeMessageVisibility", "manifests"): "work that takes long, and messages that are put off",
    ("scheduler", "sqs:GetQueueAttributes", "manifests-dead-letters"): "the number of dead letters",
    ("scheduler", "sqs:GetQueueAttributes", "input"): "`millwork why` of a file that nobody has told of",
    ("scheduler", "sqs:GetQueueUrl", "input-dead-letters"): "the same, where the queue for dead letters is not named",
    ("scheduler", "sqs:ReceiveMessage", "input-dead-letters"): "the same, if its event is among the dead letters",
    ("scheduler", "sqs:ChangeMessageVisibility", "input-dead-letters"): "the same: what was looked at is seen again",
    ("executor", "s3:ListBucket", "input"): "a file that has vanished, which must be told apart from one that may not be read",
    ("executor", "s3:AbortMultipartUpload", "output/*"): "an upload that fails half-way",
    ("operator", "s3:GetObject", "output/*"): "whether outputs are there: `millwork state find-orphans --objects`, `validate-consistency`",
    ("operator", "s3:GetObject", "manifests/*"): "the same of manifests",
    ("operator", "s3:ListBucket", "*"): "the same, and what nobody knows",
    ("operator", "s3:AbortMultipartUpload", "*"): "a copy of more than 5 GiB is made in parts, and ended if it fails",
    ("operator", "s3:DeleteObject", "input/*"): "a file that is quarantined by hand",
    ("operator", "s3:PutObject", "quarantine/*"): "the same",
    ("operator", "s3:PutObject", "manifests/*"): "manifests of rests, by backfill and sweep, if no builder was faster",
    ("operator", "sqs:GetQueueAttributes", "*"): "`millwork queues`, `millwork doctor`",
    ("operator", "sqs:GetQueueUrl", "*"): "the same",
    ("operator", "sqs:ReceiveMessage", "*"): "`millwork queues dead-letters` and `redrive`",
    ("operator", "sqs:ChangeMessageVisibility", "*"): "the same: what was only looked at is seen again",
    ("operator", "sqs:DeleteMessage", "*"): "`millwork queues redrive`",
    ("operator", "sqs:SendMessage", "*"): "the same",
    ("operator", "dynamodb:*", "*"): "`millwork state`, which changes whatever an operator must be able to change",
    ("scheduler", "dynamodb:*", "metrics"): "what was learnt of rates, numbers of the day, and notes of who changed something",
    ("*", "dynamodb:DescribeTable", "*"): "at the start, of each table that is there",
    ("*", "dynamodb:DeleteItem", "*"): "drafts and submissions that nobody finished",
    ("*", "dynamodb:ConditionCheckItem", "*"): "transactions that look at what they do not change",
    ("scheduler", "dynamodb:PutItem", "*"): "manifests that come over HTTP or from a queue",
    ("scheduler", "dynamodb:Scan", "*"): "listings without a filter",
    ("scheduler", "dynamodb:DescribeTimeToLive", "*"): "`millwork doctor`, which asks a scheduler what it stands on",
    ("scheduler", "dynamodb:Query", "*"): "listings by date",
    ("builder", "dynamodb:GetItem", "metrics"): "counters of a date that are looked at again",
    ("builder", "dynamodb:BatchGetItem", "*"): "files of a draft that is finished",
}


def test_the_template_is_valid():
    done = subprocess.run([rendered.TOOLS / "cfn-lint", TEMPLATE], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "right, wrong, code",
    [
        ("BillingMode: PAY", "BillingMod: PAY", "E3002"),
        ("VisibilityTimeout: 360", "VisibilityTimeout: 99999", "E3034"),
        ("s3:AbortMultipartUpload", "s3:AbortMultipartUplaod", "W3037"),
        ("!GetAtt InputQueue.Arn", "!GetAtt InputQuee.Arn", "E1010"),
    ],
)
def test_a_wrong_template_is_found(right, wrong, code):
    file = rendered.WORK / "wrong.yaml"
    file.write_text(TEMPLATE.read_text().replace(right, wrong, 1))
    done = subprocess.run([rendered.TOOLS / "cfn-lint", file], capture_output=True, text=True, timeout=120)
    assert done.returncode != 0 and code in done.stdout, done.stdout


@pytest.fixture(scope="module")
def account():
    with Account() as made:
        stack = made.create(PREFIX)
        assert stack["StackStatus"] == "CREATE_COMPLETE", stack
        yield made


@pytest.fixture(scope="module")
def policies(account):
    return {role: account.policy(PREFIX, role) for role in ROLES}


def lint(document):
    return [f"{finding.issue} {finding.detail}" for finding in parliament.analyze_policy_string(json.dumps(document)).findings]


@pytest.mark.parametrize("role", ROLES)
def test_policies_have_nothing_that_a_linter_minds(policies, role):
    assert lint(policies[role]) == []


@pytest.mark.parametrize("action, resource", [("s3:GetObjekt", "arn:aws:s3:::a/*"), ("s3:GetObject", "arn:aws:sqs:eu-central-1:000000000000:a")])
def test_a_policy_that_a_linter_minds_is_found(policies, action, resource):
    document = copy.deepcopy(policies["executor"])
    document["Statement"].append({"Effect": "Allow", "Action": [action], "Resource": [resource]})
    assert lint(document)


@pytest.fixture(scope="module")
def run(policies):
    """The pipeline's servers, set up by `millwork bootstrap aws`, each role under its policy."""
    made = pipelines.Pipeline(rendered.WORK / "rights")
    for role, document in policies.items():
        made.recorder.grant(role, [document])
    yield made
    made.close()


def test_the_stack_is_what_bootstrap_makes(account, run):
    assert described(account.client("sqs"), account.client("dynamodb")) == described(run.sqs, run.dynamodb)
    outputs = account.client("cloudformation").describe_stacks(StackName=PREFIX)["Stacks"][0]["Outputs"]
    printed = next(output["OutputValue"] for output in outputs if output["OutputKey"] == "Environment")
    lines = dict(line.split("=", 1) for line in printed.split())
    assert lines.keys() == run.settings.keys()
    assert all(lines[name] == run.settings[name] for name in lines if not name.endswith("_URL"))


def described(sqs, dynamodb):
    """Queues and tables; what servers number and date is left out, as are policies of queues and expiry, which the server does not make from a template."""
    queues = {}
    for url in sqs.list_queues(QueueNamePrefix=f"{PREFIX}-")["QueueUrls"]:
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        kept = {name: attributes.get(name) for name in ("VisibilityTimeout", "MessageRetentionPeriod")}
        kept["RedrivePolicy"] = json.loads(attributes.get("RedrivePolicy", "null"))
        queues[url.rpartition("/")[2]] = kept
    tables = {}
    for name in (PREFIX, f"{PREFIX}-metrics", f"{PREFIX}-runs"):
        table = dynamodb.describe_table(TableName=name)["Table"]
        indexes = {index["IndexName"]: [index["KeySchema"], index["Projection"]] for index in table.get("GlobalSecondaryIndexes", [])}
        indexes = dict(sorted(indexes.items()))
        attributes = {attribute["AttributeName"]: attribute["AttributeType"] for attribute in table["AttributeDefinitions"]}
        tables[name] = [table["KeySchema"], attributes, indexes, table["BillingModeSummary"]["BillingMode"]]
    return json.loads(json.dumps([queues, tables], sort_keys=True, default=str))


def test_buckets_of_the_template_are_as_bootstrap_makes_them():
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, tag, node: f"!{tag} {node.value if isinstance(node.value, str) else ''}")
    resources = yaml.load(TEMPLATE.read_text(), Loader)["Resources"]
    buckets = {name: resource["Properties"] for name, resource in resources.items() if resource["Type"] == "AWS::S3::Bucket"}
    assert set(buckets) == {"InputBucket", "ManifestBucket", "OutputBucket", "QuarantineBucket"}
    for name, bucket in buckets.items():
        rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
        assert rules["millwork-abort-uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
        assert len(rules) == (2 if name == "InputBucket" else 1)
        assert all(bucket["PublicAccessBlockConfiguration"].values()) and len(bucket["PublicAccessBlockConfiguration"]) == 4
    events = [item["Event"] for item in buckets["InputBucket"]["NotificationConfiguration"]["QueueConfigurations"]]
    assert events == ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]


@pytest.fixture(scope="module")
def calls(run):
    """What each role asked for in a run under its policy, in which nothing was refused."""
    pipelines.ordinary(run)
    pipelines.rare(run)
    assert not run.recorder.denied, sorted(run.recorder.denied)
    # The processes go on, and ask for more.
    return run.recorder.calls.copy()


def grants(document):
    for statement in document["Statement"]:
        for action in as_list(statement["Action"]):
            for resource in as_list(statement["Resource"]):
                yield action, resource


def as_list(value):
    return value if isinstance(value, list) else [value]


def unused(role, document, calls):
    """Pairs of action and resource that are granted, were not asked for, and have no reason in RARE."""
    asked = [(action, resource) for key, action, resource in calls if key == role]
    for action, resource in grants(document):
        if any(action == used and fnmatch.fnmatchcase(on, resource) for used, on in asked):
            continue
        short = resource.split(":::")[-1].rpartition(":")[2].removeprefix("table/").removeprefix(f"{PREFIX}-")
        if not any(fnmatch.fnmatchcase(role, a) and fnmatch.fnmatchcase(action, b) and fnmatch.fnmatchcase(short, c) for a, b, c in RARE):
            yield role, action, short


@pytest.mark.parametrize("role", ROLES)
def test_what_is_granted_is_used(policies, calls, role):
    left = list(unused(role, policies[role], calls))
    assert not left, left


@pytest.mark.parametrize(
    "role, action, place",
    [
        ("builder", "s3:PutObject", "input/*"),
        ("builder", "dynamodb:Scan", "runs"),
        ("scheduler", "s3:PutObject", "manifests/*"),
        ("scheduler", "sqs:PurgeQueue", "input"),
        ("executor", "s3:DeleteObject", "input/*"),
        ("operator", "sqs:PurgeQueue", "input"),
    ],
)
def test_a_right_too_many_is_found(policies, calls, role, action, place):
    service = action.partition(":")[0]
    where = {"s3": "arn:aws:s3:::", "sqs": "arn:aws:sqs:eu-central-1:000000000000:", "dynamodb": "arn:aws:dynamodb:eu-central-1:000000000000:table/"}[service]
    document = copy.deepcopy(policies[role])
    document["Statement"].append({"Effect": "Allow", "Action": [action], "Resource": [f"{where}{PREFIX}-{place}"]})
    assert list(unused(role, document, calls)) == [(role, action, place)]


def refused(document, role, calls):
    policy = IAMPolicy(json.dumps(document))
    return {action for key, action, resource in calls if key == role and policy.is_action_permitted(action, resource) != PermissionResult.PERMITTED}


@pytest.mark.parametrize("role", ROLES)
def test_no_right_can_be_taken_away(policies, calls, role):
    used = {action for key, action, _ in calls if key == role}
    assert refused(policies[role], role, calls) == set()
    for missing in used:
        assert refused(without(policies[role], missing), role, calls) == {missing}


def test_executors_have_rights_on_buckets_alone(policies, calls):
    assert {action.partition(":")[0] for action, _ in grants(policies["executor"])} == {"s3"}
    assert {action.partition(":")[0] for key, action, _ in calls if key == "executor"} == {"s3"}


def without(document, action):
    """A policy that lacks an action."""
    document = copy.deepcopy(document)
    for statement in document["Statement"]:
        statement["Action"] = [granted for granted in as_list(statement["Action"]) if granted != action] or ["s3:GetBucketLocation"]
    return document


@pytest.fixture
def run_without(policies):
    """Starts the servers, where one role lacks an action."""
    started = []

    def start(role, action):
        run = pipelines.Pipeline(rendered.WORK / "rights-less")
        started.append(run)
        for name, document in policies.items():
            run.recorder.grant(name, [without(document, action) if name == role else document])
        return run

    yield start
    for run in started:
        run.close()


@pytest.mark.parametrize(
    "role, action",
    [
        ("builder", "sqs:ReceiveMessage"),
        ("builder", "s3:GetObject"),
        ("scheduler", "s3:GetObject"),
        ("scheduler", "dynamodb:UpdateItem"),
        ("executor", "s3:PutObject"),
    ],
)
def test_a_run_without_a_right_fails_by_its_name(run_without, role, action):
    run = run_without(role, action)
    with pytest.raises(TimeoutError, match=action):
        pipelines.ordinary(run)
    assert {(key, action) for key, action, _ in run.recorder.denied} == {(role, action)}


def test_an_operator_without_a_right_is_told_of_it(run_without):
    run = run_without("operator", "s3:ListBucket")
    with pytest.raises(AssertionError, match=r"ListBucket|access|Access"):
        run.operate("backfill", "--prefix", f"s3://{PREFIX}-input", "--flush", program="millwork-manifest-builder")
    assert {(key, action) for key, action, _ in run.recorder.denied} == {("operator", "s3:ListBucket")}
