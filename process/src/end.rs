//! End of a program.

use std::process::ExitCode;

/// Ends a program. An error is printed on stderr in one line, with control characters escaped.
pub fn ended(program: &str, done: anyhow::Result<ExitCode>) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{program}: {}", one_line(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn one_line(text: &str) -> String {
    let escaped = |character: char| match character {
        '"' | '\'' | '\\' => character.to_string(),
        other => other.escape_debug().to_string(),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_that_steers_no_terminal() {
        assert_eq!(
            one_line("cannot read `a\nb\u{1b}[2J\u{202e}`: \"ü\" it's"),
            r#"cannot read `a\nb\u{1b}[2J\u{202e}`: "ü" it's"#
        );
    }
}
