//! Text tables, and formatting of sizes and amounts.

pub(crate) use millwork_diagnosis::bytes;
use millwork_manifest::printable;
use std::io::{IsTerminal, stdout};

/// Gap between two columns, in spaces.
const GAP: usize = 2;
/// Least width of a shortened column, in characters: 20. Less of a path would be useless.
const LEAST: usize = 20;
/// Smallest amount in USD that is printed exactly: a millionth.
const LEAST_DOLLARS: f64 = 0.000_001;

/// Prints rows below headings, each column as wide as its widest cell; the last one is not padded. Control characters
/// are escaped. On a terminal, paths and sentences are shortened to its width; elsewhere nothing is.
pub(crate) fn print<const N: usize>(headings: [&str; N], rows: &[[String; N]]) {
    for line in lines(headings, rows, terminal_width()) {
        println!("{line}");
    }
}

/// A size, or a placeholder if it is unknown, as for a manifest submitted without file sizes.
pub(crate) fn size(size: u64, is_known: bool) -> String {
    if is_known { bytes(size) } else { "-".to_owned() }
}

/// Width of the terminal on stdout, if it is one.
fn terminal_width() -> Option<usize> {
    let size = stdout().is_terminal().then(ratatui::crossterm::terminal::size);
    size.and_then(Result::ok).map(|(columns, _)| columns.into()).filter(|columns| *columns > 0)
}

fn lines<const N: usize>(headings: [&str; N], rows: &[[String; N]], width: Option<usize>) -> Vec<String> {
    // External names must not control the terminal.
    let mut rows: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| printable(cell).into_owned())).collect();
    let mut widths: [usize; N] = std::array::from_fn(|i| {
        rows.iter().map(|row| row[i].chars().count()).chain([headings[i].len()]).max().unwrap_or(0)
    });
    if let Some(width) = width {
        let can_cut: [bool; N] = std::array::from_fn(|i| rows.iter().any(|row| is_long_text(&row[i])));
        fit(&mut widths, can_cut, width);
        rows.iter_mut().for_each(|row| row.iter_mut().zip(widths).for_each(|(cell, width)| *cell = cut(cell, width)));
    }
    let line = |cells: [&str; N]| {
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join(&" ".repeat(GAP)).trim_end().to_owned()
    };
    let rows = rows.iter().map(|row| line(std::array::from_fn(|i| row[i].as_str())));
    std::iter::once(line(headings)).chain(rows).collect()
}

/// Tells whether a cell is a path or a sentence, and may be shortened. Ids, states and numbers never are, since they
/// are copied and compared.
fn is_long_text(cell: &str) -> bool {
    cell.contains('/') || cell.split(' ').count() > 3
}

/// Narrows the widest columns that may be shortened, until all columns fit, or none can be narrowed further.
fn fit<const N: usize>(widths: &mut [usize; N], can_cut: [bool; N], room: usize) {
    let room = room.saturating_sub(GAP * N.saturating_sub(1));
    loop {
        let excess = widths.iter().sum::<usize>().saturating_sub(room);
        let mut cuttable: Vec<usize> = (0..N).filter(|i| can_cut[*i] && widths[*i] > LEAST).collect();
        cuttable.sort_by_key(|i| std::cmp::Reverse(widths[*i]));
        let Some(widest) = cuttable.first().copied().filter(|_| excess > 0) else { return };
        // Reduces the widest to the width of the next one, then both further.
        let next = cuttable.get(1).map_or(LEAST, |next| widths[*next]);
        let step = if next == widths[widest] { 1 } else { widths[widest] - next };
        widths[widest] -= step.min(excess).min(widths[widest] - LEAST);
    }
}

/// Shortens a cell to a width: a path in the middle, a sentence at the end.
fn cut(cell: &str, width: usize) -> String {
    let all = cell.chars().count();
    if all <= width {
        return cell.to_owned();
    }
    let kept = width.saturating_sub(1);
    let tail = if cell.contains('/') && !cell.contains(' ') { kept - kept / 3 } else { 0 };
    let head: String = cell.chars().take(kept - tail).collect();
    let tail: String = cell.chars().skip(all - tail).collect();
    format!("{head}…{tail}")
}

/// An amount in USD, with enough decimals to show significant digits.
pub(crate) fn dollars(amount: f64) -> String {
    match amount {
        amount if amount == 0.0 || amount >= 1.0 => format!("{amount:.2}"),
        amount if amount >= 0.01 => format!("{amount:.4}"),
        // Smaller amounts are shown as less than the smallest, since zero would suggest that there is no cost.
        amount if amount > 0.0 && amount < LEAST_DOLLARS => format!("<{LEAST_DOLLARS}"),
        amount => format!("{amount:.6}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_seen_however_small() {
        let amounts = [0.0, 2.053, 0.0214, 0.000_012, 4.4e-8];
        assert_eq!(amounts.map(dollars), ["0.00", "2.05", "0.0214", "0.000012", "<0.000001"]);
    }

    const ID: &str = "2025-12-23-batch-0407-20251223-101500";

    fn table(width: Option<usize>) -> Vec<String> {
        let uri = format!("s3://acme-input/{}/2025-12-23-0193.ndjson.gz", "folder/".repeat(20));
        let why = "the store did not answer in time, and was asked again without end".to_owned();
        let long = [uri, "failed".to_owned(), why, ID.to_owned()];
        let short = ["s3://b/a".to_owned(), "done".to_owned(), String::new(), "m".to_owned()];
        lines(["FILE", "STATE", "WHY", "RUN"], &[long, short], width)
    }

    #[test]
    fn a_table_fits_its_terminal_and_nothing_is_cut_elsewhere() {
        for width in [100, 120, 200] {
            let lines = table(Some(width));
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{lines:#?}");
            assert!(lines[1].contains(ID) && lines[1].starts_with("s3://"), "{lines:#?}");
            assert!(lines[1].contains("ndjson.gz"), "{lines:#?}");
        }
        let whole = table(None);
        assert!(!whole[1].contains('…') && whole[1].len() > 250, "{whole:#?}");
        // Without room for even the least widths, lines are wrapped by the terminal.
        let narrow = table(Some(40));
        assert!(narrow[1].contains(ID) && narrow[1].chars().count() < 100, "{narrow:#?}");
    }

    #[test]
    fn what_would_steer_a_terminal_is_escaped() {
        let lines = lines(["A"], &[["a\u{1b}[2J".to_owned()]], Some(80));
        assert!(!lines[1].contains('\u{1b}'), "{lines:?}");
    }

    #[test]
    fn cells_are_cut_where_least_is_lost() {
        assert_eq!(cut("s3://in/f1/2025-12-23-0193.ndjson", 20), "s3://i…3-0193.ndjson");
        assert_eq!(cut("a sentence that is long", 10), "a sentenc…");
        assert_eq!(cut("short", 20), "short");
    }
}
