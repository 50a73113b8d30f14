//! `millwork generate`: reproducible test data; the same seed gives the same files.

mod random;
mod shapes;

use crate::failure::usage;
use crate::list::print_json;
use crate::table;
use anyhow::Context;
use clap::{Args, ValueEnum};
use millwork_diagnosis::many;
use millwork_manifest::DatePrefix;
use millwork_storage::check_way;
use random::Random;
use serde::Serialize;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Write test data: the same for the same seed.
///
/// A file depends on the seed, the shape, its date and its number only, so that more files do not change the first
/// ones.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  millwork generate ./in\n  millwork generate ./in --files 100 --size-mb 0.5 --dirty 1 --dates 3"
)]
pub(crate) struct Options {
    /// Directory for the files; created if it is not there
    output: PathBuf,

    /// Shape of the lines
    #[arg(long, value_enum, default_value_t = Shape::Events)]
    shape: Shape,

    /// Number of files of each date
    #[arg(long, value_name = "N", default_value_t = 20)]
    files: u32,

    /// Size of each file, in MiB, before compression
    #[arg(long, value_name = "MB", default_value_t = 3.5)]
    size_mb: f64,

    /// First date
    #[arg(long, value_name = "YYYY-MM-DD", default_value = "2025-12-23")]
    date: DatePrefix,

    /// Number of dates
    #[arg(long, value_name = "N", default_value_t = 1)]
    dates: u32,

    /// Share of lines that are dirty (not JSON, not objects, blank, cut short, not UTF-8), in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    dirty: f64,

    /// Number of columns that only the last lines of the last file of a date have
    #[arg(long, value_name = "N", default_value_t = 0)]
    late_columns: u32,

    /// Compression
    #[arg(long, value_enum, default_value_t = Packing::None)]
    compress: Packing,

    /// Seed that everything random follows from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Amounts written.
#[derive(Serialize)]
struct Report {
    files: u64,
    lines: u64,
    bytes: u64,
    directory: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shape {
    /// Typical events: about 20 columns, some nested, some rare
    Events,
    /// Wide and sparse: 150 columns, most of them null or absent
    Wide,
    /// Long text with escapes
    Text,
    /// All three in turn, a file each
    Mixed,
}

#[derive(Clone, Copy, ValueEnum)]
enum Packing {
    None,
    Gzip,
    Zstd,
}

/// Writes the files, and prints their number, rows and bytes.
pub(crate) fn generate(options: &Options) -> anyhow::Result<()> {
    if !(0.0..=100.0).contains(&options.dirty) {
        return Err(usage("--dirty is a share in percent, from 0 to 100"));
    }
    if options.size_mb.is_nan() || options.size_mb < 0.0 {
        return Err(usage("--size-mb must not be below 0"));
    }
    let failed = || format!("cannot write to `{}`", options.output.display());
    check_way(&options.output).with_context(failed)?;
    std::fs::create_dir_all(&options.output).with_context(failed)?;
    let (mut files, mut lines, mut bytes) = (0u64, 0u64, 0u64);
    let mut date: chrono::NaiveDate = options.date.to_string().parse()?;
    for _ in 0..options.dates {
        for number in 0..options.files {
            let content = content(options, date, number);
            lines += content.iter().filter(|b| **b == b'\n').count() as u64;
            bytes += content.len() as u64;
            files += 1;
            write(&options.output, date, number, &content, options.compress).with_context(failed)?;
        }
        date = date.succ_opt().context("no date follows the last one")?;
    }
    if options.json {
        let directory = options.output.display().to_string();
        return print_json(&Report { files, lines, bytes, directory });
    }
    eprintln!(
        "{}, {}, {} in {}",
        many(files, "file"),
        many(lines, "line"),
        table::bytes(bytes),
        options.output.display()
    );
    Ok(())
}

/// Writes one file of events, with one dirty line in a thousand. Returns its name.
pub(crate) fn demo_file(root: &Path, date: chrono::NaiveDate, number: u32, size_mb: f64) -> anyhow::Result<String> {
    let options = Options {
        output: root.to_owned(),
        shape: Shape::Events,
        files: number + 1,
        size_mb,
        date: chrono::DateTime::UNIX_EPOCH.date_naive().into(),
        dates: 1,
        dirty: 0.1,
        late_columns: 0,
        compress: Packing::None,
        seed: 1,
        json: false,
    };
    write(root, date, number, &content(&options, date, number), Packing::None)?;
    Ok(format!("{date}-part-{number:05}.ndjson"))
}

fn write(root: &Path, date: chrono::NaiveDate, number: u32, content: &[u8], packing: Packing) -> std::io::Result<()> {
    let extension = match packing {
        Packing::None => "ndjson",
        Packing::Gzip => "ndjson.gz",
        Packing::Zstd => "ndjson.zst",
    };
    let path = root.join(format!("{date}-part-{number:05}.{extension}"));
    check_way(&path)?;
    let file = std::fs::File::create(path)?;
    let mut out = BufWriter::new(file);
    match packing {
        Packing::None => out.write_all(content)?,
        Packing::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::default());
            encoder.write_all(content)?;
            encoder.finish()?;
        }
        Packing::Zstd => zstd::stream::copy_encode(content, &mut out, 3)?,
    }
    out.flush()
}

fn content(options: &Options, date: chrono::NaiveDate, number: u32) -> Vec<u8> {
    let shape = match options.shape {
        Shape::Mixed => [Shape::Events, Shape::Wide, Shape::Text][number as usize % 3],
        shape => shape,
    };
    let mut random =
        Random::new(&[options.seed, shape as u64, chrono::Datelike::num_days_from_ce(&date) as u64, u64::from(number)]);
    let wanted = (options.size_mb * 1024.0 * 1024.0) as usize;
    let mut content = Vec::with_capacity(wanted + 4096);
    let mut row = 0;
    while content.len() < wanted {
        if random.share() * 100.0 < options.dirty {
            shapes::dirty(&mut random, &mut content);
        } else {
            let is_last = number + 1 == options.files && wanted - content.len() < 8192;
            let late = if is_last { options.late_columns } else { 0 };
            let line = match shape {
                Shape::Events | Shape::Mixed => shapes::event(&mut random, date, number, row),
                Shape::Wide => shapes::wide(&mut random, date, number, row),
                Shape::Text => shapes::text(&mut random, date, row),
            };
            content.extend_from_slice(shapes::with_late_columns(line, late).as_bytes());
        }
        content.push(b'\n');
        row += 1;
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            output: PathBuf::new(),
            shape: Shape::Mixed,
            files: 3,
            size_mb: 0.05,
            date: "2025-12-23".parse().unwrap(),
            dates: 1,
            dirty: 0.0,
            late_columns: 0,
            compress: Packing::None,
            seed: 7,
            json: false,
        }
    }

    fn day() -> chrono::NaiveDate {
        "2025-12-23".parse().unwrap()
    }

    #[test]
    fn a_seed_always_gives_the_same_and_another_does_not() {
        let other = Options { seed: 8, ..options() };
        for number in 0..3 {
            assert_eq!(content(&options(), day(), number), content(&options(), day(), number));
            assert_ne!(content(&options(), day(), number), content(&other, day(), number));
        }
    }

    #[test]
    fn clean_lines_are_objects_and_late_columns_are_in_the_last_lines() {
        let late = Options { late_columns: 2, ..options() };
        for number in 0..3 {
            let text = String::from_utf8(content(&late, day(), number)).unwrap();
            let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let has_late = |line: &serde_json::Value| line.get("late_column_1").is_some();
            assert_eq!(has_late(lines.last().unwrap()), number == 2);
            assert!(!has_late(&lines[0]));
        }
    }

    #[test]
    fn dirty_lines_come_in_every_kind() {
        let dirty = Options { dirty: 100.0, ..options() };
        let content = content(&dirty, day(), 0);
        let lines: Vec<&[u8]> = content.split(|b| *b == b'\n').collect();
        assert!(lines.iter().any(|line| line.is_empty()));
        assert!(lines.iter().any(|line| line.starts_with(b"[")));
        assert!(lines.iter().any(|line| std::str::from_utf8(line).is_err()));
    }
}
