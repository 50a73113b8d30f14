//! Filters: forms that only change the address.

use super::link;
use maud::{Markup, html};

/// Value of a choice.
pub struct Choice<'a> {
    /// Text of the value in the address.
    pub value: &'a str,
    /// Name of the value, as people read it.
    pub name: &'a str,
}

/// A choice among values, with "any" first.
pub fn select(name: &str, label: &str, chosen: Option<&str>, choices: &[Choice<'_>]) -> Markup {
    let id = format!("f-{name}");
    html! {
        span.field {
            label for=(id) { (label) }
            select id=(id) name=(name) {
                option value="" selected[chosen.is_none()] { "any" }
                @for choice in choices { option value=(choice.value) selected[chosen == Some(choice.value)] { (choice.name) } }
            }
        }
    }
}

/// A text.
pub fn text(name: &str, label: &str, value: Option<&str>, placeholder: &str) -> Markup {
    let id = format!("f-{name}");
    html! {
        span.field.wide {
            label for=(id) { (label) }
            input id=(id) name=(name) type="text" value=[value] placeholder=(placeholder) autocomplete="off" spellcheck="false" maxlength="2048";
        }
    }
}

/// A date.
pub fn date(name: &str, label: &str, value: Option<&str>) -> Markup {
    let id = format!("f-{name}");
    html! {
        span.field {
            label for=(id) { (label) }
            input.day id=(id) name=(name) type="text" value=[value] placeholder="2025-12-23" inputmode="numeric" pattern="[0-9]{4}-[0-9]{2}-[0-9]{2}" title="a date such as 2025-12-23" maxlength="10" autocomplete="off";
        }
    }
}

/// The filters of a list, and how to take each away.
pub fn form(path: &str, fields: &Markup, active: &[(&str, &str)], parameters: &[(&str, Option<&str>)]) -> Markup {
    html! {
        form.filters action=(path) method="get" {
            (fields)
            button type="submit" { "Show" }
            @if !active.is_empty() { a.button.quiet href=(path) { "Clear" } }
        }
        @if !active.is_empty() {
            ul.active-filters aria-label="Filters in force" {
                @for (name, value) in active {
                    li {
                        a href=(link::query(path, &without(parameters, name))) title="take this filter away" {
                            (name) " = " (crate::text::shown(value)) span aria-hidden="true" { " ✕" } span.visually-hidden { ", take away" }
                        }
                    }
                }
            }
        }
    }
}

/// Parameters but one; the page begins anew.
pub fn without<'a>(parameters: &[(&'a str, Option<&'a str>)], name: &str) -> Vec<(&'a str, Option<&'a str>)> {
    parameters.iter().filter(|(known, _)| *known != name && *known != "cursor").copied().collect()
}
