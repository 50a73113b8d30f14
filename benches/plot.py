#!/usr/bin/env python3
"""plot.py JSON SVG: draws the comparison of run.py, whose results are in the JSON file: MB/s of each tool, a panel for each shape, and
the limit as a line. The picture has no background and colours that can be read on light and on dark ones."""

import json
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plot

GREY, BLUE, PALE, RED = "#7d8590", "#3b82f6", "#9aa4b2", "#e5534b"
NAMES = {"millwork": "Millwork", "clickhouse": "ClickHouse", "polars": "Polars", "duckdb": "DuckDB", "spark": "Spark"}
results = json.load(open(sys.argv[1]))
shapes, machine = results["comparison"]["shapes"], results["machine"]
plot.rcParams.update({"svg.hashsalt": "millwork", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 11})
for part in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"):
    plot.rcParams[part] = GREY

bars_most = max(len(result["tools"]) for result in shapes.values())
figure, panels = plot.subplots(len(shapes), 1, figsize=(8, (0.3 * bars_most + 0.8) * len(shapes) + 0.6), sharex=True, squeeze=False)
for panel, (shape, result) in zip(panels[:, 0], shapes.items()):
    tools = sorted(result["tools"], key=lambda tool: result["tools"][tool]["mb_per_s"])
    rates = [result["tools"][tool]["mb_per_s"] for tool in tools]
    bars = panel.barh(
        [NAMES[tool.split(",")[0]] + tool[len(tool.split(",")[0]) :] for tool in tools],
        rates,
        color=[BLUE if tool == "millwork" else PALE for tool in tools],
        height=0.7,
    )
    panel.bar_label(bars, [f"{rate:.0f}" for rate in rates], padding=4)
    if result["limit"]:
        limit = result["limit"]["limit_mb_per_s"]
        panel.axvline(limit, color=RED, linestyle="--", linewidth=1.5)
        panel.text(limit, -0.45, f"limit {limit:.0f} ", color=RED, ha="right", va="bottom")
    panel.set_title(f"{shape} ({result['columns']} columns)", loc="left", fontsize=11)
    panel.tick_params(axis="y", length=0)
    panel.tick_params(axis="x", labelbottom=True)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
panels[-1, 0].set_xlabel(f"MB of NDJSON a second ({machine['cores']} cores, median of {results['comparison']['runs']} runs; more is better)")
figure.tight_layout()
figure.savefig(sys.argv[2], transparent=True, metadata={"Date": None, "Title": "Input MB/s by tool and shape of the data"})
