//! The length of expressions: each operator of a chain is a level of a tree, through which planning goes by recursion.

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// Limit of the operators of one expression outside parentheses: 1,000. A thread's stack of 2 MiB holds the levels of three times as many.
const MAX_OPERATORS: usize = 1000;

/// Refuses a query with an expression of more operators. What cannot be cut into words the parser refuses, and says why.
pub(super) fn check_length(sql: &str) -> Result<()> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return Ok(()) };
    // Operators so far, by depth of the parentheses.
    let mut chains = vec![0];
    for token in tokens {
        match token {
            Token::LParen => chains.push(0),
            Token::RParen if chains.len() > 1 => drop(chains.pop()),
            Token::Comma | Token::SemiColon => chains.last_mut().into_iter().for_each(|chain| *chain = 0),
            Token::Word(word) if ends_expression(word.keyword) => {
                chains.last_mut().into_iter().for_each(|chain| *chain = 0);
            }
            token if is_operator(&token) => chains.last_mut().into_iter().for_each(|chain| *chain += 1),
            _ => {}
        }
        if chains.last().is_some_and(|chain| *chain > MAX_OPERATORS) {
            return Err(DataFusionError::Plan(format!(
                "an expression has more operators in a row than {MAX_OPERATORS}, the limit: compare with many values by IN (…), join many \
                 texts by concat(…)"
            )));
        }
    }
    Ok(())
}

fn ends_expression(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::WHEN | Keyword::THEN | Keyword::ELSE | Keyword::END
    )
}

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(word.keyword, Keyword::AND | Keyword::OR | Keyword::NOT),
        Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::Mod | Token::StringConcat => true,
        Token::Eq | Token::Neq | Token::Lt | Token::Gt | Token::LtEq | Token::GtEq => true,
        Token::Ampersand | Token::Pipe | Token::Caret | Token::DoubleColon | Token::LBracket => true,
        _ => false,
    }
}
