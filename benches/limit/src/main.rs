//! limit DIR [FILES=40] [SECONDS=0.3]: what the work that no converter to Snappy Parquet can avoid costs on this machine.
//!
//! Three probes over files of a data set, each on one thread and on all cores, each repeated for some seconds, the best
//! counting: read the files (warm); parse each line, validating it, into its top-level values, unescape them and append
//! them to a buffer per column, the only copy there is; compress what is in these buffers. Prints megabytes of input a
//! second as JSON. The limit adds up what one thread takes for a byte in all three, and grants every core all of its
//! speed; no dictionaries, statistics, checksums, commits or disk are in it.

use sonic_rs::JsonValueTrait;
use std::collections::HashMap;
use std::hint::black_box;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PAGE_BYTES: usize = 1 << 20;

/// Values as Parquet's encoding PLAIN has them, four bytes of length before each, and which rows have one.
#[derive(Default)]
struct Column {
    plain: Vec<u8>,
    present: Vec<u64>,
}

impl Column {
    fn append(&mut self, row: usize, value: &[u8]) {
        let word = row / 64;
        if self.present.len() <= word {
            self.present.resize(word + 1, 0);
        }
        self.present[word] |= 1 << (row % 64);
        self.plain.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.plain.extend_from_slice(value);
    }
}

/// Columns by name, in the order in which they came first.
#[derive(Default)]
struct Columns {
    names: Vec<String>,
    numbers: HashMap<String, usize>,
    columns: Vec<Column>,
    /// What a value with escapes is unescaped into.
    text: String,
}

impl Columns {
    /// The number of a column that is most likely one of those after the last.
    fn number(&mut self, name: &str, expected: usize) -> usize {
        let mut likely = self.names.iter().enumerate().skip(expected).take(4);
        if let Some((number, _)) = likely.find(|(_, there)| *there == name) {
            return number;
        }
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), self.columns.len());
        self.columns.push(Column::default());
        self.columns.len() - 1
    }

    fn add_line(&mut self, row: usize, line: &[u8]) {
        let mut expected = 0;
        for pair in sonic_rs::to_object_iter(line) {
            let (key, value) = pair.expect("generated lines are valid");
            let number = self.number(&key, expected);
            expected = number + 1;
            let raw = value.as_raw_str();
            if !value.is_str() {
                if raw != "null" {
                    self.columns[number].append(row, raw.as_bytes());
                }
                continue;
            }
            let inner = &raw[1..raw.len() - 1];
            if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
                self.columns[number].append(row, inner.as_bytes());
            } else {
                self.text = sonic_rs::from_str(raw).expect("generated lines are valid");
                self.columns[number].append(row, self.text.as_bytes());
            }
        }
    }

    /// Adds a file; hands over each page that is full, as every file's end makes none.
    fn add_file(&mut self, content: &[u8], rows: &mut usize, full: &mut impl FnMut(&[u8])) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', content) {
            self.add_line(*rows, &content[start..end]);
            (start, *rows) = (end + 1, *rows + 1);
        }
        for column in self.columns.iter_mut().filter(|column| column.plain.len() >= PAGE_BYTES) {
            column.plain.chunks(PAGE_BYTES).for_each(&mut *full);
            column.plain.clear();
        }
        // The bits of rows go with a row group.
        if *rows > 1 << 16 {
            self.columns.iter_mut().for_each(|column| column.present.clear());
            *rows = 0;
        }
    }
}

/// Runs `work` on each thread, which takes items until none is left. Returns the seconds.
fn share<T: Sync>(items: &[T], threads: usize, work: impl Fn(&mut dyn Iterator<Item = &T>) + Sync) -> f64 {
    let (next, started) = (AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&mut std::iter::from_fn(|| items.get(next.fetch_add(1, Ordering::Relaxed)))));
        }
    });
    started.elapsed().as_secs_f64()
}

fn read(paths: &[PathBuf], threads: usize) -> f64 {
    share(paths, threads, |paths| {
        let mut buffer = Vec::new();
        for path in paths {
            buffer.clear();
            let mut file = std::fs::File::open(path).expect("the file is there");
            black_box(file.read_to_end(&mut buffer).expect("the file can be read"));
        }
    })
}

fn build(files: &[Vec<u8>], threads: usize) -> f64 {
    share(files, threads, |files| {
        let (mut columns, mut rows) = (Columns::default(), 0);
        files.for_each(|content| {
            columns.add_file(content, &mut rows, &mut |page| {
                black_box(page);
            })
        });
    })
}

fn compress(pages: &[Vec<u8>], threads: usize) -> f64 {
    share(pages, threads, |pages| {
        let mut encoder = snap::raw::Encoder::new();
        let mut out = vec![0; snap::raw::max_compress_len(2 * PAGE_BYTES)];
        for page in pages {
            black_box(encoder.compress(page, &mut out).expect("there is room"));
        }
    })
}

/// All that the build appends, as pages.
fn pages_of(files: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (mut columns, mut rows, mut pages) = (Columns::default(), 0, Vec::new());
    for content in files {
        columns.add_file(content, &mut rows, &mut |page| pages.push(page.to_vec()));
    }
    pages.extend(columns.columns.into_iter().map(|column| column.plain).filter(|plain| !plain.is_empty()));
    pages
}

/// The least seconds that `probe` took, of three times or as often as there is time for.
fn best(seconds: f64, probe: impl Fn() -> f64) -> f64 {
    let (mut least, mut spent, mut times) = (f64::MAX, 0.0, 0);
    while times < 3 || spent < seconds {
        let took = probe();
        (least, spent, times) = (least.min(took), spent + took, times + 1);
    }
    least
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let directory = arguments.first().expect("usage: limit DIR [FILES] [SECONDS]");
    let files = arguments.get(1).map_or(40, |files| files.parse().expect("FILES is a number"));
    let seconds = arguments.get(2).map_or(0.3, |seconds| seconds.parse().expect("SECONDS is a number"));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);

    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("DIR is a directory")
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    let step = (paths.len() / files).max(1);
    let paths: Vec<PathBuf> = paths.into_iter().step_by(step).take(files).collect();
    let contents: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).expect("the file can be read")).collect();
    let pages = pages_of(&contents);
    let bytes: usize = contents.iter().map(Vec::len).sum();
    let plain: usize = pages.iter().map(Vec::len).sum();

    let probe = |threads| {
        [
            best(seconds, || read(&paths, threads)),
            best(seconds, || build(&contents, threads)),
            best(seconds, || compress(&pages, threads)),
        ]
    };
    let (one, all) = (probe(1), probe(cores));
    let rate = |seconds: f64| bytes as f64 / 1e6 / seconds;
    let rates = |[read, build, compress]: [f64; 3]| {
        format!("{{\"read\": {:.0}, \"build\": {:.0}, \"snappy\": {:.0}}}", rate(read), rate(build), rate(compress))
    };
    println!(
        "{{\"cores\": {cores}, \"input_mb\": {:.1}, \"plain_mb\": {:.1}, \"one_thread\": {}, \"all_cores\": {}, \
         \"limit_mb_per_s\": {:.1}, \"limit_all_cores_mb_per_s\": {:.1}}}",
        bytes as f64 / 1e6,
        plain as f64 / 1e6,
        rates(one),
        rates(all),
        rate(one.iter().sum::<f64>()) * cores as f64,
        rate(all.iter().sum()),
    );
}
