"""deploy/aws/millwork.yaml, made into a stack by a server that speaks CloudFormation, and the policies that come out of it."""

import json
import os

os.environ.setdefault("MOTO_ACCOUNT_ID", "000000000000")

import boto3
from moto.server import ThreadedMotoServer

from rendered import ROOT

TEMPLATE = ROOT / "deploy" / "aws" / "millwork.yaml"
REGION = "eu-central-1"
ROLES = ["builder", "scheduler", "executor", "operator"]


class Account:
    """An account of AWS's protocols in this process, empty at first."""

    def __enter__(self):
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        host, port = self.server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        return self

    def __exit__(self, *_):
        self.server.stop()

    def client(self, service):
        return boto3.client(service, endpoint_url=self.endpoint, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test")

    def create(self, prefix, template=None):
        formation = self.client("cloudformation")
        parameters = [{"ParameterKey": "Prefix", "ParameterValue": prefix}]
        formation.create_stack(StackName=prefix, TemplateBody=template or TEMPLATE.read_text(), Parameters=parameters, Capabilities=["CAPABILITY_NAMED_IAM"])
        return formation.describe_stacks(StackName=prefix)["Stacks"][0]

    def policy(self, prefix, role):
        """The document of a role's policy."""
        iam = self.client("iam")
        attached = iam.list_attached_role_policies(RoleName=f"{prefix}-{role}")["AttachedPolicies"]
        assert len(attached) == 1, attached
        arn = attached[0]["PolicyArn"]
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
        return json.loads(document) if isinstance(document, str) else document
