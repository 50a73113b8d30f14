//! `millwork-manifest-builder`: makes manifests from events and listings.

use anyhow::Context;
use futures::StreamExt;
use millwork_manifest_builder::once::Asked;
use millwork_manifest_builder::program::{Command, Program, Redrive, Serve, is_on_lambda};
use millwork_manifest_builder::{Builder, RedriveFilter, ServiceOptions, once, run_lambda, serve, watch};
use millwork_queue::ConsumerOptions;
use millwork_storage::Location;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use std::process::ExitCode;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let options: Program = millwork_process::parse();
    let done = millwork_process::block_on(async {
        millwork_process::start_logs("millwork-manifest-builder", "info")?;
        run(options).await
    });
    millwork_process::ended("millwork-manifest-builder", done)
}

/// Exit code of a dry run that would change something, the same as in the `millwork` command.
const WOULD_CHANGE: u8 = 3;

async fn run(options: Program) -> anyhow::Result<ExitCode> {
    let builder = once::open(&options).await?;
    match options.command {
        Some(Command::Serve(serve)) => serve_queue(builder, serve).await?,
        Some(Command::Watch(options)) => {
            let http = options.listen.address()?;
            let interval = Duration::from_secs(options.interval_seconds);
            watch(builder, Location::parse(&options.input)?, interval, Some(http), stop_signal()?).await?;
        }
        Some(Command::Backfill(backfill)) => once::backfill(&builder, &backfill, &Asked::by_service(&builder)).await?,
        Some(Command::Cut(options)) => once::cut(&builder, &options, &Asked::by_service(&builder)).await?,
        Some(Command::Sweep { json }) => once::sweep(&builder, json, &Asked::by_service(&builder)).await?,
        Some(Command::Redrive(options)) => return redrive(&builder, options).await,
        None if is_on_lambda() => {
            let seconds = env_or("MAX_LOCK_WAIT_SECONDS", 10)?;
            let dead_letters = std::env::var("DEAD_LETTER_QUEUE_URL").ok();
            run_lambda(builder, dead_letters, Duration::from_secs(seconds)).await?;
        }
        None => anyhow::bail!("say what to do: serve, watch, backfill, cut, sweep or redrive; see --help"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn redrive(builder: &Builder, options: Redrive) -> anyhow::Result<ExitCode> {
    let place = Location::parse(&options.prefix)?;
    let filter = RedriveFilter { state: options.only, reason: options.refused_for };
    let done = match options.yes {
        true => once::redrive(builder, &place, filter, &Asked::by_service(builder)).await?,
        false => builder.redrive(&place, filter, true).await?,
    };
    once::show(&done, options.json)?;
    let failed = done.failed.len();
    anyhow::ensure!(failed == 0, "not taken back, for the reasons above: {failed}");
    if !options.yes && !done.pending.is_empty() {
        eprintln!("nothing was changed: say --yes to take them back");
        return Ok(ExitCode::from(WOULD_CHANGE));
    }
    Ok(ExitCode::SUCCESS)
}

fn env_or(name: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is `{text}`, which is no number of seconds")),
        Err(_) => Ok(default),
    }
}

async fn serve_queue(builder: Builder, options: Serve) -> anyhow::Result<()> {
    let service = ServiceOptions {
        http: Some(options.listen.address()?),
        queue: ConsumerOptions {
            queue_url: options.queue_url,
            dead_letter_queue_url: options.dead_letter_queue_url,
            visibility_seconds: options.visibility_timeout_seconds,
            poll_seconds: options.poll_seconds,
        },
        workers: options.workers as usize,
        max_lock_wait: Duration::from_secs(options.max_lock_wait_seconds),
        sweep_interval: Duration::from_secs(options.sweep_interval_seconds),
    };
    serve(builder, service, stop_signal()?).await
}

/// Exit code of a process terminated by SIGTERM, as shells report it.
const CODE_OF_A_SECOND_SIGNAL: i32 = 143;

/// Token that is cancelled by SIGTERM or Ctrl-C.
fn stop_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut signals, told) = (Signals::new([SIGINT, SIGTERM])?, stop.clone());
    tokio::spawn(async move {
        signals.next().await;
        tracing::info!("stopping: what was received is finished first; another signal ends it at once");
        told.cancel();
        signals.next().await;
        tracing::warn!("told to stop again: what was received comes again");
        std::process::exit(CODE_OF_A_SECOND_SIGNAL);
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_option_has_a_variable() {
        assert_eq!(millwork_process::unnamed(Program::command()), Vec::<String>::new());
    }
}
