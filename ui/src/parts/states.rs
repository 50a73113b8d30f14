//! Pages, and parts of pages, on which there is nothing to show.

use crate::parts::copy;
use crate::text;
use maud::{Markup, html};

/// Nothing here yet: what it is for, and the command that fills it.
pub fn empty(title: &str, body: &str, command: Option<&str>) -> Markup {
    html! {
        div.empty {
            p.title { (title) }
            p { (body) }
            @if let Some(command) = command { (copy::command(command)) }
        }
    }
}

/// Something could not be found out; the rest of the page stands.
pub fn failed(what: &str, code: &str, message: &str, again: &str) -> Markup {
    html! {
        div.banner.bad role="alert" {
            p { strong { (what) } " " span.tag { (code) } }
            p { (text::prose(message)) }
            p { a href=(again) { "Try again" } }
        }
    }
}

/// Notice in place of what is known only where the manifests are run.
pub fn standby(what: &str) -> Markup {
    html! {
        div.banner.warn role="status" {
            strong { "This scheduler stands by. " }
            (what) " is known only to the one that runs the manifests: open its page, or wait until this one takes over."
        }
    }
}

/// A right that is missing.
pub fn forbidden(what: &str, needed: &str, has: &str) -> Markup {
    html! {
        div.banner.warn role="status" {
            (what) " needs the role " strong { (needed) } "; the token of this session has " strong { (has) } ". Ask whoever keeps the scheduler's tokens."
        }
    }
}
