//! Tables for people, and sizes in them.

use millwork_manifest::printable;

/// Prints rows below their headings, each column as wide as its widest cell; the last one has no end. What would steer a terminal is
/// shown escaped.
pub(crate) fn print<const N: usize>(headings: [&str; N], rows: &[[String; N]]) {
    // Names from outside steer no terminal.
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| printable(cell).into_owned())).collect();
    let widths: [usize; N] = std::array::from_fn(|i| {
        rows.iter().map(|row| row[i].chars().count()).chain([headings[i].len()]).max().unwrap_or(0)
    });
    let line = |cells: [&str; N]| {
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        println!("{}", padded.join("  ").trim_end());
    };
    line(headings);
    rows.iter().for_each(|row| line(std::array::from_fn(|i| row[i].as_str())));
}

/// A size as people read it: in bytes, or in a unit of 1,024 times the one before, with one digit after the point.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut size, mut unit) = (bytes as f64, 0);
    // A size that would be rounded to 1024.0 is 1.0 of the next unit.
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{size:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_unit() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (3_670_016, "3.5 MiB"),
            (1_048_575, "1.0 MiB"),
            (3_758_096_384, "3.5 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }
}
