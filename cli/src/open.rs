//! `millwork open`: a link to the web UI that signs in once.

use crate::client::{Client, ClientOptions};
use anyhow::Context;
use clap::Args;
use serde::Deserialize;
use std::process::{Command, ExitCode, Stdio};

/// Print a link to the scheduler's web UI that signs in, and open it in a browser.
///
/// The link works once, and for two minutes. Whoever opens it may do there what the token may that this command
/// shows: the one of --token-file or MILLWORK_TOKEN, or the one that a scheduler on this machine has left for its
/// user.
///
/// Examples:
///   millwork open
///   millwork open /ui/runs?state=failed --no-browser
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Page to begin with: a path such as /ui/runs?state=failed, or the id of a run
    #[arg(value_name = "PAGE")]
    page: Option<String>,

    /// Only print the link
    #[arg(long)]
    no_browser: bool,

    #[command(flatten)]
    client: ClientOptions,
}

/// Answer of a scheduler.
#[derive(Deserialize)]
struct Link {
    path: String,
    expires_in: u64,
}

/// Asks for a link.
pub(crate) async fn open(options: Options) -> anyhow::Result<ExitCode> {
    let client = Client::new(&options.client)?;
    let link: Link =
        client.post_text("/ui/sign-in-links", &(), "{}".to_owned()).await.context("cannot get a link to sign in")?;
    let mut url = format!("{}{}", client.base(), link.path);
    if let Some(page) = &options.page {
        let path = if page.starts_with("/ui/") {
            page.clone()
        } else {
            millwork_api::path::run(page).replacen("/api/v1/", "/ui/", 1)
        };
        url = format!("{url}&back={}", millwork_api::path::segment(&path));
    }
    println!("{url}");
    eprintln!("it works once, within {} s", link.expires_in);
    if !options.no_browser {
        show(&url);
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens a browser, if the desktop has one.
pub(crate) fn show(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let has_desktop =
        cfg!(target_os = "macos") || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if has_desktop {
        // Without one, the link is there to be copied.
        let _ = Command::new(program).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    }
}
