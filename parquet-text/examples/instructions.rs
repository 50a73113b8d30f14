//! `instructions STEP SHAPE`: does one step of a conversion once, on the same two megabytes each time, for
//! `tests/instructions.py` to count the instructions of [`measured`].

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../benches/trial/mod.rs"]
mod trial;

use std::env::args;
use std::hint::black_box;
use trial::{Trial, lines, scan};

const BYTES: usize = 2 << 20;

/// What is counted. Its name is known to `tests/instructions.py`.
#[inline(never)]
fn measured<T>(step: impl FnOnce() -> T) -> T {
    black_box(step())
}

fn main() {
    let (step, shape) = (args().nth(1).unwrap_or_default(), args().nth(2).unwrap_or_default());
    assert!(lines::SHAPES.contains(&shape.as_str()), "no shape `{shape}`: one of {:?}", lines::SHAPES);
    let lines = lines::lines(&shape, BYTES);
    let done = match step.as_str() {
        "scan" => measured(|| scan(&lines)),
        "columns" => {
            let trial = Trial::new(&lines).unwrap();
            measured(|| trial.count(&lines).unwrap())
        }
        "encode" => {
            let trial = Trial::new(&lines).unwrap();
            let rows = trial.rows(&lines).unwrap();
            measured(|| trial.encode(&rows).unwrap()) as usize
        }
        _ => panic!("no step `{step}`: scan, columns or encode"),
    };
    assert!(done > 0, "nothing was done");
}
