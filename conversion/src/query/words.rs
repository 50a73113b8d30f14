//! Columns that a query names, if it can take no others: keys that it does not name then cost it nothing, however many
//! there are.

use super::Query;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use millwork_ndjson::Words;
use std::sync::Arc;

impl Query {
    /// The words of a query that names each column it takes; `None` if it may take other columns, too.
    pub(crate) fn words(&self) -> Option<Words> {
        if self.is_default() {
            return None;
        }
        let tokens = Tokenizer::new(&GenericDialect, &self.sql).tokenize().ok()?;
        let is_star = |token: &Token| matches!(token, Token::Mul);
        let words: Vec<&str> = tokens
            .iter()
            .filter_map(|token| match token {
                Token::Word(word) => Some(word.value.as_str()),
                _ => None,
            })
            .collect();
        let count = |wanted: &str| words.iter().filter(|word| word.eq_ignore_ascii_case(wanted)).count();
        // `FROM t` alone, and `TABLE t`, select all columns as well.
        let is_sure = count("select") >= 1 && count("from") <= count("select") && count("table") == 0;
        if !is_sure || tokens.iter().any(is_star) {
            return None;
        }
        Some(Arc::new(words.iter().flat_map(|word| [(*word).to_owned(), word.to_lowercase()]).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_takes_all_columns_names_none_for_sure() {
        let words = |sql: &str| Query::new("q.sql", sql).words();
        for sql in [
            "SELECT * FROM read_manifest($manifest)",
            "SELECT t.* FROM read_manifest($manifest) t",
            "SELECT * EXCLUDE (a) FROM read_manifest($manifest)",
            "FROM read_manifest($manifest)",
            "SELECT a FROM (FROM read_manifest($manifest))",
            "TABLE x",
            "SELECT 'unclosed FROM x",
        ] {
            assert!(words(sql).is_none(), "{sql}");
        }
        assert!(Query::default().words().is_none());
        let named = words("SELECT a, \"B c\" AS Foo FROM read_manifest($manifest) WHERE d = '*' -- *\n").unwrap();
        for name in ["a", "B c", "foo", "Foo", "d"] {
            assert!(named.contains(name), "{name}");
        }
    }
}
