//! `millwork-scheduler`: takes manifests over HTTP, from a queue or from a directory, and runs them on the executors that
//! connect to it.

use anyhow::Context;
use clap::Parser;
use millwork_scheduler::{Engine, Intake, IntakeOptions, RunOptions, Scheduler, State, check_listen, router};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often the store is asked for runs that a manifest builder has queued.
const TAKE_UP_INTERVAL: Duration = Duration::from_secs(5);

/// Runs manifests on a fleet of executors.
///
/// Manifests come over HTTP (`millwork submit`), from the state where a manifest builder queues them, from the events of
/// a bucket or from a directory. Each becomes a run: planned here, converted by executors, committed and published here.
/// What is running when the scheduler stops goes on when it is started again.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Address for executors (gRPC). It has neither encryption nor authentication: keep it inside a network you trust
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:50050")]
    listen: SocketAddr,

    /// Address for the HTTP API
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    http: SocketAddr,

    /// Where runs and files are remembered: sqlite:PATH or dynamodb:TABLE
    #[arg(long, value_name = "URL")]
    state: String,

    /// File with the token that API clients must send; MILLWORK_TOKEN in the environment does the same
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Listen on addresses that others can reach, without a token
    #[arg(long)]
    insecure: bool,

    #[command(flatten)]
    intake: IntakeOptions,

    #[command(flatten)]
    run: RunOptions,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "info,ballista=warn,ballista_core=warn,ballista_scheduler=warn,datafusion=warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    serve(Options::parse()).await
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let token = token(&options)?;
    check_listen(options.http, token.is_some(), options.insecure)?;
    anyhow::ensure!(
        options.listen.ip().is_loopback() || options.insecure,
        "refusing to listen for executors on {}, which others can reach: that endpoint has no authentication; limit \
         who can reach it, then say --insecure",
        options.listen
    );
    let state = State::open(&options.state).await?;
    let listener =
        TcpListener::bind(options.listen).await.with_context(|| format!("cannot listen on {}", options.listen))?;
    let http = TcpListener::bind(options.http).await.with_context(|| format!("cannot listen on {}", options.http))?;
    let engine = Engine::start(listener).await?;
    let scheduler = Scheduler::new(engine.clone(), state.store.clone(), options.run)?;
    let resumed = scheduler.resume().await?;
    tracing::info!(executors = %engine.address(), http = %http.local_addr()?, resumed, "scheduler started");
    tokio::spawn(scheduler.clone().take_up(TAKE_UP_INTERVAL));
    let mut terminate = signal(SignalKind::terminate())?;
    let stopped = CancellationToken::new();
    let intake = Intake::new(Arc::new(scheduler.clone())).start(&options.intake, &stopped).await?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("stopping: running attempts are cancelled and go on at the next start");
        stopped.cancel();
    };
    axum::serve(http, router(scheduler.clone(), token)).with_graceful_shutdown(stop).await?;
    // What the queue still hands out is submitted, and goes on at the next start.
    tokio::join!(scheduler.shut_down(), intake.wait());
    state.close().await;
    Ok(())
}

fn token(options: &Options) -> anyhow::Result<Option<String>> {
    let from_file = match &options.token_file {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the token file `{}`", path.display()))?,
        ),
        None => std::env::var("MILLWORK_TOKEN").ok(),
    };
    let token = from_file.map(|token| token.trim().to_owned());
    anyhow::ensure!(token.as_deref() != Some(""), "the token is empty");
    Ok(token)
}
