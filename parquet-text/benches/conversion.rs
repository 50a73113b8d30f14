//! What a core does in a second: the scan alone, the scan and the columns, and the encoding of columns.

#![allow(clippy::unwrap_used)]

mod trial;

use divan::counter::BytesCount;
use trial::lines::{SHAPES, lines};
use trial::{Trial, scan};

const BYTES: usize = 8 << 20;

fn main() {
    divan::main();
}

#[divan::bench(args = SHAPES)]
fn scan_lines(bencher: divan::Bencher<'_, '_>, shape: &str) {
    let lines = lines(shape, BYTES);
    bencher.counter(BytesCount::of_slice(&lines)).bench(|| scan(&lines));
}

#[divan::bench(args = SHAPES)]
fn scan_and_build_columns(bencher: divan::Bencher<'_, '_>, shape: &str) {
    let lines = lines(shape, BYTES);
    let trial = Trial::new(&lines).unwrap();
    bencher.counter(BytesCount::of_slice(&lines)).bench(|| trial.count(&lines).unwrap());
}

#[divan::bench(args = SHAPES)]
fn encode_columns(bencher: divan::Bencher<'_, '_>, shape: &str) {
    let lines = lines(shape, BYTES);
    let trial = Trial::new(&lines).unwrap();
    let rows = trial.rows(&lines).unwrap();
    bencher.counter(BytesCount::of_slice(&lines)).bench(|| trial.encode(&rows).unwrap());
}
