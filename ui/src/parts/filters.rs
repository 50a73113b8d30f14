//! Filter forms. They only change the query of the address.

use super::link;
use maud::{Markup, html};

/// Option of a select field.
pub struct Choice<'a> {
    /// Value in the query.
    pub value: &'a str,
    /// Label of the value.
    pub name: &'a str,
}

/// Select field with the options, preceded by "any".
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

/// Text field.
pub fn text(name: &str, label: &str, value: Option<&str>, placeholder: &str) -> Markup {
    let id = format!("f-{name}");
    html! {
        span.field.wide {
            label for=(id) { (label) }
            input id=(id) name=(name) type="text" value=[value] placeholder=(placeholder) autocomplete="off" spellcheck="false" maxlength="2048";
        }
    }
}

/// Date field.
pub fn date(name: &str, label: &str, value: Option<&str>) -> Markup {
    let id = format!("f-{name}");
    html! {
        span.field {
            label for=(id) { (label) }
            input.day id=(id) name=(name) type="text" value=[value] placeholder="2025-12-23" inputmode="numeric" pattern="[0-9]{4}-[0-9]{2}-[0-9]{2}" title="a date such as 2025-12-23" maxlength="10" autocomplete="off";
        }
    }
}

/// Filters of a list, with links that remove each active one.
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

/// Parameters except one. The cursor is dropped, too: the list starts at its first page.
pub fn without<'a>(parameters: &[(&'a str, Option<&'a str>)], name: &str) -> Vec<(&'a str, Option<&'a str>)> {
    parameters.iter().filter(|(known, _)| *known != name && *known != "cursor").copied().collect()
}
