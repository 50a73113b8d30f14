//! Demo files: some dates at once, then further files from time to time, a few of them bad.

use crate::generate;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// First date, and number of dates that are created at once.
const FIRST: (&str, u64) = ("2025-12-20", 4);
/// Number of files per date at the start, and size of each, in MiB.
const FILES: u32 = 12;
const SIZE_MB: f64 = 1.5;
/// Interval between further files, and their number each time.
const PAUSE: Duration = Duration::from_secs(6);
const BUNCH: u32 = 3;
/// Limit of the rounds of further files: about an hour, 2 GB.
const BUNCHES: u32 = 600;

/// Generator of demo files.
pub(super) struct Demo {
    directory: Option<PathBuf>,
}

impl Demo {
    pub(super) fn new(directory: Option<PathBuf>) -> Self {
        Self { directory }
    }

    /// Generates files until dropped.
    pub(super) async fn work(self) {
        if let Some(directory) = self.directory
            && let Err(error) = make(&directory).await
        {
            eprintln!("millwork: no more files are made: {error:#}");
        }
        std::future::pending().await
    }
}

async fn make(directory: &Path) -> anyhow::Result<()> {
    let first: chrono::NaiveDate = FIRST.0.parse()?;
    let dates: Vec<chrono::NaiveDate> = first.iter_days().take(FIRST.1 as usize).collect();
    // Written outside the input and then renamed, so that no partial file is listed.
    let draft = directory.with_extension("draft");
    std::fs::create_dir_all(&draft)?;
    for date in &dates {
        for number in 0..FILES {
            put(directory, &draft, *date, number).await?;
        }
    }
    bad(directory, &draft, dates[0])?;
    let Some(last) = dates.last() else { return Ok(()) };
    for bunch in 0..BUNCHES {
        tokio::time::sleep(PAUSE).await;
        for number in 0..BUNCH {
            put(directory, &draft, *last, FILES + bunch * BUNCH + number).await?;
        }
    }
    Ok(())
}

async fn put(directory: &Path, draft: &Path, date: chrono::NaiveDate, number: u32) -> anyhow::Result<()> {
    let (directory, draft) = (directory.to_owned(), draft.to_owned());
    tokio::task::spawn_blocking(move || {
        let name = generate::demo_file(&draft, date, number, SIZE_MB)?;
        std::fs::rename(draft.join(&name), directory.join(&name))?;
        anyhow::Ok(())
    })
    .await?
}

/// Writes a file that is too small, one of unknown format, and a truncated one: they are refused, or fail their run.
fn bad(directory: &Path, draft: &Path, date: chrono::NaiveDate) -> anyhow::Result<()> {
    let before = date.pred_opt().unwrap_or(date);
    let whole = zstd::stream::encode_all(std::io::Cursor::new(vec![b'x'; 1 << 20]), 1)?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    std::io::Write::write_all(
        &mut gzip,
        &[b"{\"id\":1,\"text\":\"".as_slice(), &vec![b'y'; 300_000], b"\"}\n"].concat(),
    )?;
    let gzip = gzip.finish()?;
    let cut = gzip.get(..gzip.len() / 2).unwrap_or_default();
    for (name, content) in [
        (format!("{date}-tiny.ndjson"), b"{\"id\":1}\n".as_slice()),
        (format!("{date}-notes.txt"), whole.as_slice()),
        (format!("{before}-cut-short.ndjson.gz"), cut),
    ] {
        std::fs::write(draft.join(&name), content)?;
        std::fs::rename(draft.join(&name), directory.join(&name))?;
    }
    Ok(())
}
