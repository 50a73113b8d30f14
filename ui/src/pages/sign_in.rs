//! Sign-in page.

use crate::frame;
use crate::text;
use maud::{Markup, html};

/// Content of the page.
pub struct SignIn<'a> {
    /// Address of the page to open after sign-in.
    pub back: &'a str,
    /// Reason why the last attempt was refused.
    pub refusal: Option<&'a str>,
    /// True if the scheduler generated a token for the user who started it.
    pub is_owners: bool,
}

/// Renders the page.
pub fn page(page: &SignIn<'_>) -> Markup {
    html! {
        section.sign-in {
            h1 { (frame::brand_mark()) " Sign in to Millwork" }
            @if let Some(refusal) = page.refusal { div.banner.bad role="alert" #refusal { (text::sentence(refusal)) } }
            form method="post" action="/ui/sign-in" {
                input type="hidden" name="back" value=(page.back);
                label for="token" { "Access token" }
                input #token type="password" name="token" required autocomplete="current-password" spellcheck="false" maxlength="4096" autofocus
                    aria-describedby=(if page.refusal.is_some() { "refusal how" } else { "how" });
                button.primary type="submit" { "Sign in" }
            }
            @if page.is_owners {
                p #how { "This scheduler answers only the user who started it. On that machine, as that user, this prints a link that signs in:" }
                (crate::parts::copy::command("millwork open"))
            } @else {
                p #how { "The token is what " code { "millwork token new" } " printed. A command that has one can also make a link that signs in:" }
                (crate::parts::copy::command("millwork open"))
            }
            p.muted { "Signed in for 12 hours, on this site only. The token itself is not kept in the browser." }
        }
    }
}
