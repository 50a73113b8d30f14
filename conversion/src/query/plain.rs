//! Plain words for the SQL engine's errors.

/// Beginnings of messages that only name the part of the engine which they come from.
const PREFIXES: [&str; 6] = [
    "Error during planning: ",
    "SQL error: ",
    "This feature is not implemented: ",
    "Schema error: ",
    "Optimizer rule failed: ",
    "Execution error: ",
];
/// Beginnings of messages about statements that are no query.
const NO_QUERY: [&str; 5] = [
    "DDL not supported",
    "DML not supported",
    "Statement not supported",
    "The context currently only supports a single SQL statement",
    "No SQL statements were provided",
];

/// Message of the engine in one line, without the names of its parts, and with what to do where that is known.
pub(super) fn text_of(message: &str) -> String {
    // "rule\ncaused by\nmessage": the message is the cause.
    let mut text = message.rsplit("\ncaused by\n").next().unwrap_or(message).trim();
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest;
    }
    if let Some(inner) = ["ParserError(\"", "TokenizerError(\""].iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = inner.split("\")").next().unwrap_or(inner);
    }
    // The place stands before the message.
    let text = text.split(" at Line: ").next().unwrap_or(text);
    if NO_QUERY.iter().any(|known| text.starts_with(known)) {
        return "a query is one SELECT … FROM read_manifest($manifest), and nothing else".to_owned();
    }
    let text = text.replace("datafusion.public.", "").replace("read_manifest().", "");
    let lines = text.lines().map(|line| line.trim().trim_end_matches('.')).filter(|line| !line.is_empty());
    let text = lines.collect::<Vec<_>>().join("; ");
    match text.contains("Cannot coerce") || text.contains("Cannot infer common") {
        true => format!("{text}; keys are columns of text: make numbers of them, such as by CAST(amount AS DOUBLE)"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_not_named() {
        for (told, plain) in [
            (
                "SQL error: ParserError(\"Expected: an SQL statement, found: FORM at Line: 1, Column: 1\")",
                "Expected: an SQL statement, found: FORM",
            ),
            (
                "Error during planning: Invalid function 'frobnicate'.\nDid you mean 'translate'?",
                "Invalid function 'frobnicate'; Did you mean 'translate'?",
            ),
            (
                "type_coercion\ncaused by\nError during planning: Cannot coerce arithmetic expression Utf8 / Int64 to valid types",
                "Cannot coerce arithmetic expression Utf8 / Int64 to valid types; keys are columns of text: make numbers of them, \
                 such as by CAST(amount AS DOUBLE)",
            ),
            (
                "Error during planning: DDL not supported: DropTable",
                "a query is one SELECT … FROM read_manifest($manifest), and nothing else",
            ),
            ("Error during planning: table 'datafusion.public./etc/passwd' not found", "table '/etc/passwd' not found"),
        ] {
            assert_eq!(text_of(told), plain);
        }
    }
}
