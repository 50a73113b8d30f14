#!/usr/bin/env python3
"""cost.py JSON

What the runs of run.py, whose results are in this file, would cost: CPU seconds a gigabyte of input, and dollars a terabyte by the
prices of prices.toml. A machine is paid for as long as a run takes, with all of its cores, idle ones too, and is taken to do one run
after the other. Spark on Glue is given the speed it has here, on as many DPUs as these cores are, and nothing for its start beyond
what is measured; beside it stand Glue jobs as they are set up, by their workers and minutes. Storage and requests cost the same for all."""

import json
import os
import sys
import tomllib

import measure

path = sys.argv[1]
results = json.load(open(path))
prices = tomllib.load(open(os.path.dirname(os.path.abspath(__file__)) + "/prices.toml", "rb"))
machines, glue, cores = prices["machine"], prices["glue"], results["machine"]["cores"]


def usd_per_tb(mb_per_s, usd_per_vcpu_hour):
    return 1e6 / mb_per_s / 3600 * cores * usd_per_vcpu_hour


rows = []
found: dict[str, dict] = {"tools": {}, "jobs": {}}
for shape, result in results["comparison"]["shapes"].items():
    for tool, m in result["tools"].items():
        usd = {machine["name"]: usd_per_tb(m["mb_per_s"], machine["usd_per_hour"] / machine["vcpus"]) for machine in machines}
        if tool.startswith("spark"):
            usd["Glue"] = usd_per_tb(m["mb_per_s"], glue["usd_per_dpu_hour"] / glue["vcpus_per_dpu"])
        found["tools"].setdefault(shape, {})[tool] = {"cpu_seconds_per_gb": m["cpu_seconds_per_gb"], "usd_per_tb": usd}
        rows.append([shape, tool, m["cpu_seconds_per_gb"], *[usd[machine["name"]] for machine in machines], usd.get("Glue", "")])
print("What it costs, on demand in us-east-1")
measure.table(["shape", "tool", "CPU s a GB", *[f"USD a TB, {machine['name']}" for machine in machines], "USD a TB, Glue's DPUs at this speed"], rows)
dearest = max(tools["millwork"]["usd_per_tb"][machine["name"]] for tools in found["tools"].values() if "millwork" in tools for machine in machines)
rows = []
for job in prices["job"]:
    usd = job["workers"] * job["dpus_per_worker"] * max(job["minutes"], glue["least_minutes"]) / 60 * glue["usd_per_dpu_hour"]
    found["jobs"][job["name"]] = usd_per_tb_of_job = usd / job["input_gb"] * 1000
    rows.append([job["name"], usd, usd_per_tb_of_job, usd_per_tb_of_job / dearest])
measure.table(["Glue jobs by their settings", "USD a batch", "USD a TB", f"× Millwork at its dearest ({dearest:.2f})"], rows)
for source in (*machines, {"name": "Glue", **glue}):
    print(f"{source['name']}: {source['source']}")
measure.save(path, "cost", found)
