//! A fleet under different policies, simulated: the one of the product, called as the scheduler calls it, and what else is usual.
//!
//! `cargo run -p millwork-scaling --example simulate -- OUT` writes a CSV for each load and policy, and prints a table;
//! `benches/fleet.py OUT SVG` makes a picture of it. With `--load FILE` the load is that of a file: a line `SECONDS,BYTES` for each manifest.

mod fleet;
mod loads;
mod policies;

use fleet::{Fleet, Outcome, Sample};
use loads::Scenario;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs, io};

/// Arguments of the command line.
struct Options {
    out: PathBuf,
    load: Option<PathBuf>,
    hours: f64,
    deadline_minutes: u64,
    wake_minutes: u64,
    max: u32,
    fixed: u32,
    lose_at: Option<f64>,
}

const USAGE: &str = "simulate OUT [--load FILE] [--hours N] [--deadline-minutes N] [--wake-minutes N] [--max N] [--fixed N] [--lose-at SECONDS]";

fn options() -> io::Result<Options> {
    let wrong = |text: String| io::Error::other(format!("{text}; usage: {USAGE}"));
    let mut arguments = env::args().skip(1);
    let out = arguments.next().ok_or_else(|| wrong("say where to write to".to_owned()))?;
    let mut options = Options {
        out: out.into(),
        load: None,
        hours: 3.0,
        deadline_minutes: 30,
        wake_minutes: 0,
        max: 40,
        fixed: 4,
        lose_at: None,
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| wrong(format!("{name} needs a value")))?;
        let number = || value.parse::<f64>().map_err(|e| wrong(format!("{name} {value}: {e}")));
        match name.as_str() {
            "--load" => options.load = Some(value.into()),
            "--hours" => options.hours = number()?,
            "--deadline-minutes" => options.deadline_minutes = number()? as u64,
            "--wake-minutes" => options.wake_minutes = number()? as u64,
            "--max" => options.max = number()? as u32,
            "--fixed" => options.fixed = number()? as u32,
            "--lose-at" => options.lose_at = Some(number()?),
            _ => return Err(wrong(format!("{name} is no option"))),
        }
    }
    Ok(options)
}

fn scenarios(options: &Options) -> io::Result<Vec<Scenario>> {
    let Some(file) = &options.load else { return Ok(loads::built_in()) };
    let mut arrivals = Vec::new();
    for (number, line) in fs::read_to_string(file)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let parts =
            line.split_once(',').and_then(|(at, bytes)| Some((at.trim().parse().ok()?, bytes.trim().parse().ok()?)));
        arrivals.push(
            parts.ok_or_else(|| io::Error::other(format!("line {}: `{line}` is not SECONDS,BYTES", number + 1)))?,
        );
    }
    arrivals.sort_by(|(a, _): &(f64, f64), (b, _)| a.total_cmp(b));
    Ok(vec![Scenario {
        name: "own",
        title: "own load",
        arrivals,
        seconds: options.hours * 3600.0,
        fixed: options.fixed,
        max: options.max,
        deadline_minutes: options.deadline_minutes,
        wake_minutes: options.wake_minutes,
        lose_at: options.lose_at,
    }])
}

fn main() -> io::Result<()> {
    let options = options()?;
    fs::create_dir_all(&options.out)?;
    let mut summary =
        String::from("load,policy,done_share,cost_dollars,peak_executors,p95_seconds,max_seconds,late_share,changes\n");
    println!(
        "| load | policy | done | cost | peak | p95 | max | late | changes |\n|---|---|---|---|---|---|---|---|---|"
    );
    for scenario in scenarios(&options)? {
        for policy in policies::of(&scenario) {
            let name = policy.name();
            let outcome = match policy.glue() {
                true => loads::glue(&scenario),
                false => Fleet::new(&scenario).run(&scenario, policy),
            };
            let Outcome { done, cost, peak, p95, max, late, changes, samples } = outcome;
            println!(
                "| {} | {name} | {:.1} % | ${cost:.2} | {peak} | {p95:.0} s | {max:.0} s | {:.1} % | {changes} |",
                scenario.title,
                done * 100.0,
                late * 100.0
            );
            let line = writeln!(summary, "{},{name},{done},{cost},{peak},{p95},{max},{late},{changes}", scenario.name);
            line.map_err(io::Error::other)?;
            fs::write(options.out.join(format!("{}.{}.csv", scenario.name, name.replace(' ', "-"))), csv(&samples)?)?;
        }
    }
    fs::write(options.out.join("summary.csv"), summary)
}

fn csv(samples: &[Sample]) -> io::Result<String> {
    let mut text = String::from("seconds,backlog_bytes,executors,wanted,oldest_seconds,cost_dollars\n");
    for Sample { at, backlog, executors, wanted, oldest, cost } in samples {
        writeln!(text, "{at},{backlog},{executors},{wanted},{oldest},{cost}").map_err(io::Error::other)?;
    }
    Ok(text)
}
