//! What a core does in a second: the scan alone, the scan and the columns, and the encoding of columns.

#![allow(clippy::unwrap_used)]

mod lines;

use divan::counter::BytesCount;
use millwork_conversion::bench::{Trial, encode, scan};

const SHAPES: [&str; 3] = ["events", "wide", "text"];
const BYTES: usize = 8 << 20;

/// About [`BYTES`] of lines of a shape, the same each time.
fn lines(shape: &str) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut lines = String::new();
    while lines.len() < BYTES {
        lines += &lines::line(shape, &mut rng);
        lines.push('\n');
    }
    lines.into_bytes()
}

fn main() {
    divan::main();
}

#[divan::bench(args = SHAPES)]
fn scan_lines(bencher: divan::Bencher<'_, '_>, shape: &str) {
    let lines = lines(shape);
    bencher.counter(BytesCount::of_slice(&lines)).bench(|| scan(&lines));
}

#[divan::bench(args = SHAPES)]
fn scan_and_build_columns(bencher: divan::Bencher<'_, '_>, shape: &str) {
    let lines = lines(shape);
    let trial = Trial::new(&lines).unwrap();
    bencher.counter(BytesCount::of_slice(&lines)).bench(|| trial.rows(&lines).unwrap());
}

#[divan::bench(args = SHAPES)]
fn encode_columns(bencher: divan::Bencher<'_, '_>, shape: &str) {
    let lines = lines(shape);
    let batches = Trial::new(&lines).unwrap().batches(&lines).unwrap();
    bencher.counter(BytesCount::of_slice(&lines)).bench(|| encode(&batches).unwrap());
}
