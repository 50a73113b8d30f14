//! `millwork up`: watches, converts and shows a directory, in one process.

mod demo;
mod feed;

use crate::embedded::{self, vcores};
use crate::exit::Exit;
use crate::failure::usage;
use crate::list::print_json;
use crate::run::tell_adopted;
use anyhow::Context;
use clap::{Args, Parser};
use demo::Demo;
use feed::Feed;
use futures::StreamExt;
use millwork_conversion::EarlySurvey;
use millwork_manifest::printable;
use millwork_manifest_builder::{Builder, Rules, Signs, WISH_INTERVAL};
use millwork_process::Profile;
use millwork_scheduler::{
    About, ApiServer, BasePath, EndedRun, HttpOptions, Lease, OutputLock, ReadPlaces, RunOptions, Scheduler, Service,
    claim_output,
};
use millwork_storage::{Location, Places, Storage};
use millwork_tracking::TrackingStore;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use std::io::{ErrorKind, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// First port that is tried for the web UI, and the number of further ones.
const PORTS: (u16, u16) = (8080, 100);
/// Validity of the sign-in link that is printed at the start; `millwork open` creates later ones.
const LINK_TIME: Duration = Duration::from_secs(600);
/// Expiry time of a date's lock, which bounds the wait of a new start after a crash.
const LOCK_TTL: chrono::Duration = chrono::Duration::seconds(10);

/// Watch a directory, convert what arrives, and show all of it in the browser.
///
/// Everything is in this one process: no other has to be started, and nothing listens but the web UI, on this machine only.
/// On a terminal it prints a link that signs in. Ctrl-C ends it in order; started again, it goes on where it was.
///
/// Examples:
///   millwork up ./in
///   millwork up --demo --open
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Directory to watch, at any depth; created if it is not there
    #[arg(value_name = "DIR", required_unless_present = "demo")]
    input: Option<PathBuf>,

    /// Place of the Parquet files [default: `out`, beside DIR]
    #[arg(long, value_name = "PLACE")]
    output: Option<String>,

    /// Place of refused files and rejected lines. Without it, refused files stay where they are, and rejected lines go to
    /// {output}/_quarantine [default: MILLWORK_QUARANTINE, or s3://$QUARANTINE_BUCKET]
    #[arg(long, value_name = "PLACE")]
    quarantine: Option<String>,

    /// State with files and runs: sqlite:PATH [default: sqlite:{output}/_millwork/state.db]
    #[arg(long, value_name = "URL")]
    state: Option<String>,

    /// Make files for a day, some of them bad, and more from time to time: in DIR, or millwork-demo/in
    #[arg(long)]
    demo: bool,

    /// Address of the web UI and the HTTP API, one of this machine's own [default: the first free port of 127.0.0.1, from 8080 on]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<SocketAddr>,

    /// Path below which a proxy shows the web UI and the API, such as /millwork
    #[arg(long, value_name = "PATH", default_value = "")]
    http_base_path: BasePath,

    /// Take the manifests of an output whose state was lost as converted, as far as their output is there
    #[arg(long)]
    adopt: bool,

    /// Serve neither web UI nor HTTP API
    #[arg(long, conflicts_with_all = ["http", "open"])]
    no_ui: bool,

    /// Print the places and the address of the web UI as one JSON document on stdout, at the start
    #[arg(long)]
    json: bool,

    /// Open the web UI in the browser
    #[arg(long)]
    open: bool,

    /// Threads that convert, and tasks that run at once [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    vcores: Option<u32>,

    /// Preset of what neither the command line nor the environment says; `millwork config reference` has its values
    #[arg(long, env = "MILLWORK_PROFILE", value_name = "NAME")]
    profile: Option<Profile>,

    #[command(flatten)]
    rules: Rules,
}

/// The options of a run, with what the environment says of them.
#[derive(Parser)]
struct Run {
    #[command(flatten)]
    run: RunOptions,
}

/// Places in use.
struct Where {
    input: Location,
    output: Location,
    state: String,
    run: RunOptions,
}

impl Where {
    fn of(options: &Options) -> anyhow::Result<Self> {
        let directory = match &options.input {
            Some(directory) => directory.clone(),
            None => PathBuf::from("millwork-demo/in"),
        };
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make the directory `{}`", directory.display()))?;
        let directory = directory.canonicalize().with_context(|| format!("cannot use `{}`", directory.display()))?;
        let beside = || {
            let parent =
                directory.parent().context("say where the output goes: --output PLACE; `/` has nothing beside it")?;
            anyhow::Ok(parent.join("out").display().to_string())
        };
        let output = options.output.clone().map_or_else(beside, Ok)?;
        let run = run_options(options, &output)?;
        let (input, output) = (Location::parse(&directory.display().to_string())?, run.output()?);
        if input.contains(&output) || output.contains(&input) {
            return Err(usage(format!(
                "the input `{input}` and the output `{output}` are one inside the other: what is written would be read again; name another \
                 place with --output"
            )));
        }
        run.quarantine()?;
        let state = match (&options.state, output.local_path()) {
            (Some(state), _) => state.clone(),
            (None, Some(path)) => format!("sqlite:{}/_millwork/state.db", path.display()),
            (None, None) => return Err(usage("say where files and runs are remembered: --state sqlite:PATH")),
        };
        Ok(Self { input, output, state, run })
    }
}

fn run_options(options: &Options, output: &str) -> anyhow::Result<RunOptions> {
    let profile = options.profile.map(|profile| if profile == Profile::Dev { "dev" } else { "prod" });
    let profile = profile.into_iter().flat_map(|name| ["--profile", name]);
    let quarantine = options.quarantine.iter().flat_map(|place| ["--quarantine", place.as_str()]);
    let line = ["up", "--output", output].into_iter().chain(profile).chain(quarantine);
    let Run { run } = millwork_process::try_parse_from(line).map_err(crate::failure::wrong_line)?.options;
    Ok(run)
}

/// Web UI, and its sign-in link.
struct Shown {
    server: ApiServer,
    url: String,
    link: Option<String>,
}

/// Runs until it is told to end.
pub(crate) async fn up(options: Options) -> anyhow::Result<ExitCode> {
    if let Some(address) = options.http.filter(|address| !address.ip().is_loopback()) {
        return Err(usage(format!(
            "`millwork up` is for this machine alone, and others can reach {address}: say --http 127.0.0.1:{}, or start \
             `millwork-scheduler`, which takes tokens and certificates",
            address.port()
        )));
    }
    let signals = Signals::new([SIGINT, SIGTERM])?;
    let place = Where::of(&options)?;
    let store = millwork_tracking::open(&place.state).await?;
    let places = ReadPlaces::new(Places::of(&place.input), Places::none(), Some(&place.output));
    let about = About::of(&place.run, &places.manifests)?;
    let service = Service::new(store.clone(), places, Storage::from_env()).with_about(about);
    let shown = if options.no_ui { None } else { Some(show(&options, &service).await?) };
    if options.json {
        let url = shown.as_ref().map(|shown| &shown.url);
        let (input, output) = (place.input.to_string(), place.output.to_string());
        print_json(&json!({"input": input, "output": output, "state": place.state, "url": url}))?;
    }
    greet(&options, &place, shown.as_ref());
    let stop = CancellationToken::new();
    let signalled = tokio::spawn(end_at_signals(signals, stop.clone()));
    let led = lead(&options, &place, &store, &service, &stop).await;
    if let Some(shown) = shown {
        shown.server.shut_down().await;
    }
    store.close().await;
    signalled.abort();
    led.map(|()| ExitCode::SUCCESS)
}

/// Cancels the token at the first signal, and ends the process at the second.
async fn end_at_signals(mut signals: Signals, stop: CancellationToken) {
    signals.next().await;
    eprintln!("\nending in order; once more ends at once");
    stop.cancel();
    signals.next().await;
    std::process::exit(Exit::Interrupted.code().into());
}

/// Waits to become the leader of the state, then watches and converts until it is told to stop.
async fn lead(
    options: &Options,
    place: &Where,
    store: &Arc<dyn TrackingStore>,
    service: &Service,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let storage = service.storage();
    let host = embedded::host(vcores(options.vcores), storage.clone());
    let engine = tokio::spawn(embedded::start(host));
    let Some(lease) = take_lead(store, &place.state, stop).await? else { return Ok(()) };
    let output = OutputLock::take(place.output.clone())?;
    tell_adopted(options.adopt, &claim_output(&lease, storage, &place.output, &place.run.layout, options.adopt).await?);
    let conversion = place.run.service_conversion(service.places().convertible(), storage.clone())?;
    let engine = engine.await??;
    let (scheduler, ended) =
        Scheduler::start(engine, &lease, output, place.run.clone(), (conversion, EarlySurvey::default()))?;
    service.lead(scheduler.clone());
    let told = tokio::spawn(tell(ended));
    let builder = builder(options, place, store, storage)?;
    let signs = tokio::spawn(
        Signs::new(&builder, "up").sweeping(feed::INTERVAL).taking_wishes(WISH_INTERVAL).give_often(stop.clone()),
    );
    let feed = Feed::new(builder, place.input.clone(), scheduler.clone());
    let demo = options.demo.then(|| Demo::new(place.input.local_path().map(Path::to_owned)));
    watch(feed, demo, &scheduler, stop).await?;
    scheduler.shut_down().await;
    signs.abort();
    told.abort();
    lease.release().await;
    Ok(())
}

/// Lease of the state, perhaps after another process has ended; none if it is told to stop before.
async fn take_lead(
    store: &Arc<dyn TrackingStore>,
    state: &str,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Lease>> {
    if let Some(lease) = Lease::take(store).await? {
        return Ok(Some(lease));
    }
    eprintln!("another process runs the manifests of {state}: standing by until it ends");
    tokio::select! {
        lease = Lease::wait(store) => Ok(Some(lease?)),
        () = stop.cancelled() => Ok(None),
    }
}

/// Watches and converts until it is told to stop, or cannot go on.
async fn watch(feed: Feed, demo: Option<Demo>, scheduler: &Scheduler, stop: &CancellationToken) -> anyhow::Result<()> {
    tokio::select! {
        () = feed.work() => {}
        () = async { match demo { Some(demo) => demo.work().await, None => std::future::pending().await } } => {}
        () = stop.cancelled() => {}
        () = scheduler.deposed().cancelled() => anyhow::bail!("another process runs the manifests of this state now"),
        () = scheduler.stopped().cancelled() => anyhow::bail!("the scheduler stopped for the reason above: start it again, and it continues"),
    }
    Ok(())
}

fn builder(
    options: &Options,
    place: &Where,
    store: &Arc<dyn TrackingStore>,
    storage: &Storage,
) -> anyhow::Result<Builder> {
    let output = place.output.to_string();
    let quarantine = place.run.quarantine()?.map(|place| place.to_string());
    let manifests = format!("{output}/_millwork");
    let mut settings = options.rules.settings(
        Places::of(&place.input),
        &manifests,
        quarantine.as_deref(),
        Some(&output),
        store.file(),
    )?;
    settings.lock_ttl = settings.lock_ttl.min(LOCK_TTL);
    // Overrides MAX_WAIT_SECONDS: files are cut once no more arrive.
    settings.caps.max_wait_seconds = feed::LONGEST_WAIT.as_secs();
    let holder = format!("millwork-up:{}", std::process::id());
    Ok(Builder::new(store.clone(), Arc::new(storage.clone()), settings, holder))
}

async fn show(options: &Options, service: &Service) -> anyhow::Result<Shown> {
    let listener = match options.http {
        Some(address) => {
            let cannot = |error| anyhow::Error::msg(millwork_net::cannot_listen(address, &error));
            TcpListener::bind(address).await.map_err(cannot)?
        }
        None => free_port().await?,
    };
    let address = listener.local_addr()?;
    let mut http = HttpOptions::default();
    http.address = address;
    http.http_base_path = options.http_base_path.clone();
    let door = http.door()?;
    let descriptors = millwork_net::raise_descriptor_limit().context("cannot raise the limit of open files")?;
    let server = ApiServer::start(listener, service.clone(), door, descriptors)?;
    let url = format!("http://{address}");
    let link = server.sign_in_path(LINK_TIME)?.map(|path| format!("{url}{path}"));
    Ok(Shown { server, url, link })
}

/// Listener on the first free port.
async fn free_port() -> anyhow::Result<TcpListener> {
    for port in PORTS.0..PORTS.0 + PORTS.1 {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => anyhow::bail!(millwork_net::cannot_listen(address, &error)),
            Ok(listener) => return Ok(listener),
        }
    }
    anyhow::bail!("the ports {} to {} are all taken: name one with --http HOST:PORT", PORTS.0, PORTS.0 + PORTS.1 - 1)
}

fn greet(options: &Options, place: &Where, shown: Option<&Shown>) {
    eprintln!("  input   {} (watched)", place.input);
    eprintln!("  output  {}", place.output);
    eprintln!("  state   {}", place.state);
    match shown {
        None => {}
        Some(Shown { url, link: Some(link), .. }) => {
            // The link is not written to a log, where others could read and use it.
            if std::io::stderr().is_terminal() {
                eprintln!("  web UI  {link}");
                eprintln!("          signs in once, within {} min; later: millwork open", LINK_TIME.as_secs() / 60);
            } else {
                eprintln!("  web UI  {url}/ui/ (millwork open --scheduler {url} signs in)");
            }
            if options.open {
                crate::open::show(link);
            }
        }
        Some(Shown { url, link: None, .. }) => {
            eprintln!("  web UI  {url}/ui/ (sign in with a token of this scheduler)")
        }
    }
    eprintln!("  {} at once; Ctrl-C ends in order", crate::report::count(vcores(options.vcores) as u64, "task"));
}

/// Prints a line for each run that ends, and for each of its files that needs attention.
async fn tell(mut ended: broadcast::Receiver<EndedRun>) {
    loop {
        match ended.recv().await {
            Ok(run) => lines(&run).iter().for_each(|line| eprintln!("{line}")),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

fn lines(run: &EndedRun) -> Vec<String> {
    let now = chrono::Utc::now().format("%H:%M:%S");
    match &run.outcome {
        Ok(result) => {
            let rejected = match result.rejected {
                0 => String::new(),
                n => format!(", {} rejected", crate::report::count(n, "line")),
            };
            let files = crate::report::count(result.outputs.len() as u64, "file");
            let rows = crate::report::count(result.rows, "row");
            let first = format!("{now}  ✓ {}: {rows} in {files}{rejected}", run.manifest_id);
            let without_rows = result.ledger.iter().filter_map(|file| Some((&file.uri, file.without_rows()?)));
            let of_file = |(uri, why): (&String, String)| format!("{now}    no row of {}: {why}", printable(uri));
            std::iter::once(first).chain(without_rows.map(of_file)).collect()
        }
        // Messages can quote arbitrary text, which is escaped.
        Err(failure) => {
            let first =
                format!("{now}  ✗ {}: {}: {}", run.manifest_id, failure.class, failure.to_string().escape_debug());
            let others = failure.others.iter().map(|fault| format!("{now}  ✗   {}", fault.message.escape_debug()));
            std::iter::once(first).chain(others).collect()
        }
    }
}
