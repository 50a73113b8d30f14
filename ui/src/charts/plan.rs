//! Physical plans as a tree of boxes, with the root on top.

use crate::text;
use maud::{Markup, html};

/// Limit of drawn nodes: plans of conversions have 3 to 8.
const MAX_NODES: usize = 60;
/// Limit of drawn characters of a node's details.
const MAX_DETAIL: usize = 240;

/// Node of a plan.
#[derive(Debug, PartialEq, Eq)]
pub struct Node {
    /// Depth of the node in the plan; 0 for the root.
    pub depth: usize,
    /// Operator of the node.
    pub name: String,
    /// Rest of the node's line: its details.
    pub detail: String,
}

/// Parses the nodes of the physical plan in the output of `EXPLAIN`. Indents give their depths.
pub fn nodes(plan: &str) -> Vec<Node> {
    let lines: Vec<&str> = plan.lines().collect();
    let begin = lines.iter().rposition(|line| line.trim_start().to_ascii_lowercase().starts_with("physical"));
    let physical = &lines[begin.map_or(0, |at| at + 1).min(lines.len())..];
    let indent = |line: &str| line.len() - line.trim_start().len();
    let least = physical.iter().filter(|line| !line.trim().is_empty()).map(|line| indent(line)).min().unwrap_or(0);
    physical
        .iter()
        .filter(|line| !line.trim().is_empty())
        .take(MAX_NODES)
        .map(|line| {
            let (name, detail) = line.trim().split_once(':').unwrap_or((line.trim(), ""));
            Node { depth: (indent(line) - least) / 2, name: name.trim().to_owned(), detail: detail.trim().to_owned() }
        })
        .collect()
}

/// Details with the list of files replaced by their number. Another page lists the files.
fn without_files(detail: &str) -> String {
    let Some((before, rest)) = detail.split_once("file_groups={") else { return detail.to_owned() };
    let Some((groups, after)) = rest.split_once("]}") else { return detail.to_owned() };
    let Some((number, lists)) = groups.split_once(": ") else { return detail.to_owned() };
    // Truncated list: DataFusion prints only the first of many groups.
    let (lists, more) = lists.split_once(", ...").map_or((lists, ""), |(lists, _)| (lists, " and more"));
    let files = lists.matches(", ").count() + 1;
    format!("{before}{files} ranges of files{more} in {number}{after}")
}

/// Draws the tree as nested lists, which screen readers read in order.
pub fn tree(plan: &str) -> Markup {
    let nodes = nodes(plan);
    html! {
        ol.plan aria-label="Physical plan, from the output to the input" {
            @for node in &nodes {
                @let detail = without_files(&node.detail);
                @let short: String = detail.chars().take(MAX_DETAIL).collect();
                li data-depth=(node.depth.min(8)) {
                    strong { (text::shown(&node.name)) }
                    @if !short.is_empty() { div.detail { (text::shown(&short)) @if short.len() < detail.len() { " …" } } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted() {
        let detail = "file_groups={2 groups: [[a/b:0..3, c:0..9], [d:1..2]]}, projection=[a], file_type=ndjson";
        assert_eq!(without_files(detail), "3 ranges of files in 2 groups, projection=[a], file_type=ndjson");
        let many = "file_groups={30 groups: [[a:0..3], [c:0..9], [d], [e], [f], ...]}, limit=1";
        assert_eq!(without_files(many), "5 ranges of files and more in 30 groups, limit=1");
        for other in ["parts=6", "file_groups={cut", ""] {
            assert_eq!(without_files(other), other);
        }
    }

    #[test]
    fn indents_are_depths() {
        let nodes =
            nodes("logical\n  x\nphysical\n  Sink: parts=6\n    Projection: [a]\n      DataSourceExec: files\n");
        let depths: Vec<_> = nodes.iter().map(|node| (node.depth, node.name.as_str())).collect();
        assert_eq!(depths, [(0, "Sink"), (1, "Projection"), (2, "DataSourceExec")]);
    }
}
