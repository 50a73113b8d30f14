#!/usr/bin/env python3
"""A picture of what the simulation of the fleet wrote: fleet.py DIRECTORY SVG."""

import csv
import pathlib
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plot

directory, target = map(pathlib.Path, sys.argv[1:])
plot.rcParams.update({"svg.hashsalt": "millwork", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9})
LOADS = {
    "month": "a month at once (34 TB)",
    "spot": "the same, half lost after 10 minutes",
    "large": "a day of 3.5 GB files (1.18 PB)",
    "asleep": "a flat day, asleep between batches",
    "own": "own load",
}
COLOURS = {"millwork": "#0b6e4f", "fixed": "#888888", "HPA on CPU": "#c44536", "KEDA on depth": "#e09f3e", "naive drain": "#6a4c93", "Glue 20x30": "#1d5b9b"}
ROWS = [
    ("backlog_bytes", 1e12, "backlog (TB)"),
    ("executors", 1, "executors"),
    ("oldest_seconds", 60, "oldest run (min)"),
    ("cost_dollars", 1, "cost so far ($)"),
]

summary = list(csv.DictReader(open(directory / "summary.csv")))
loads = [name for name in LOADS if any(row["load"] == name for row in summary)]
figure, axes = plot.subplots(len(ROWS), len(loads), figsize=(4.2 * len(loads), 10), sharex="col", squeeze=False)
for column, load in enumerate(loads):
    hours = 0.0
    for row in (row for row in summary if row["load"] == load):
        policy = row["policy"]
        samples = list(csv.DictReader(open(directory / f"{load}.{policy.replace(' ', '-')}.csv")))
        time = [float(sample["seconds"]) / 3600 for sample in samples]
        hours = max(hours, time[-1])
        colour = COLOURS["fixed" if policy.startswith("fixed") else policy]
        for axis, (field, unit, _) in zip(axes[:, column], ROWS):
            # Workers of Glue are no executors.
            if field == "executors" and policy.startswith("Glue"):
                continue
            axis.plot(
                time,
                [float(sample[field]) / unit for sample in samples],
                color=colour,
                label=policy,
                linewidth=1.8 if policy == "millwork" else 1,
                zorder=3 if policy == "millwork" else 2,
            )
    axes[0, column].set_title(LOADS[load], fontsize=10)
    axes[2, column].axhline(30, color="black", linestyle="--", linewidth=0.8)
    axes[2, column].text(0, 31, " deadline", fontsize=7)
    axes[2, column].set_ylim(0, 75)
    axes[3, column].set_yscale("symlog", linthresh=1)
    axes[-1, column].set_xlabel("hours")
    axes[-1, column].set_xlim(0, min(hours, 24))
    for axis in axes[:, column]:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.2)
        axis.set_ylim(bottom=0)
for axis, title in zip(axes[:, 0], [label for *_, label in ROWS]):
    axis.set_ylabel(title)
handles, labels = axes[0, 0].get_legend_handles_labels()
names = ["a fleet of one size" if label.startswith("fixed") else label for label in labels]
figure.legend(handles, names, loc="lower center", ncols=len(labels), frameon=False)
figure.tight_layout(rect=(0, 0.03, 1, 1))
figure.savefig(target, metadata={"Date": None})
