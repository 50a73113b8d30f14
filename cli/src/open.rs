//! `millwork open`: one-time sign-in link to the web UI.

use crate::client::{Client, ClientOptions};
use crate::list::print_json;
use anyhow::Context;
use clap::Args;
use serde::Deserialize;
use serde_json::json;
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

    /// Print the link, and for how many seconds it works, as one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

/// Answer of a scheduler.
#[derive(Deserialize)]
struct Link {
    path: String,
    expires_in: u64,
}

/// Requests a link, and prints or opens it.
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
    if options.json {
        print_json(&json!({"url": url, "expires_in": link.expires_in}))?;
    } else {
        println!("{url}");
        eprintln!("it works once, within {} s", link.expires_in);
    }
    if !options.no_browser {
        show(&url);
    }
    Ok(ExitCode::SUCCESS)
}

/// Name of the local page that redirects a browser to a link; overwritten each time.
const PAGE_NAME: &str = "sign-in.html";

/// Opens a browser, if the desktop has one. The browser gets a private page that redirects to the link, since the
/// arguments of programs are visible to all users.
pub(crate) fn show(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let has_desktop =
        cfg!(target_os = "macos") || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if !has_desktop {
        // The printed link can be used instead.
        return;
    }
    match millwork_scheduler::keep_private(PAGE_NAME, &page_to(url)) {
        Ok(page) => {
            let mut browser = Command::new(program);
            browser.arg(page).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            // Without a browser, the printed link can be used.
            let _ = browser.spawn();
        }
        Err(error) => eprintln!("millwork: no browser is opened, copy the link: {error:#}"),
    }
}

/// HTML page that redirects to a link immediately.
fn page_to(url: &str) -> String {
    let url = url.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title>Millwork</title><meta name=\"referrer\" content=\"no-referrer\">\
         <meta http-equiv=\"refresh\" content=\"0; url={url}\"><a href=\"{url}\">Sign in</a>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_leads_to_the_link_whatever_is_in_it() {
        let page = page_to("http://127.0.0.1:8080/ui/enter?code=1&back=\"><script>");
        assert!(page.contains("href=\"http://127.0.0.1:8080/ui/enter?code=1&amp;back=&quot;>&lt;script>\""), "{page}");
    }
}
