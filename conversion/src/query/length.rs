//! Limits on the length of expressions: each operator in a chain is a level of a tree, through which planning recurses.

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// Limit of the operators of one expression outside parentheses: 1,000. A thread stack of 2 MiB suffices for more than
/// twice as many levels.
const MAX_OPERATORS: usize = 1000;

/// Limit of the `SELECT`s and joins of a query: 100. Each can be a level of the plan.
const MAX_SELECTS: usize = 100;

/// Refuses a query with too many operators in an expression, or too many parts. A query that cannot be tokenized is
/// left to the parser, which reports the error.
pub(super) fn check_length(sql: &str) -> Result<()> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return Ok(()) };
    // Operators counted so far, by nesting depth of parentheses and CASE.
    let (mut chains, mut selects) = (vec![0], 0);
    for token in &tokens {
        match kind_of(token) {
            Kind::Opens => chains.push(0),
            Kind::Closes if chains.len() > 1 => drop(chains.pop()),
            Kind::Separates => reset(&mut chains),
            Kind::Selects => {
                reset(&mut chains);
                selects += 1;
            }
            Kind::Operates => chains.last_mut().into_iter().for_each(|chain| *chain += 1),
            Kind::Closes | Kind::Other => {}
        }
        if chains.last().is_some_and(|chain| *chain > MAX_OPERATORS) {
            return Err(DataFusionError::Plan(format!(
                "an expression has more operators in a row than {MAX_OPERATORS}, the limit: compare with many values by IN (…), join many \
                 texts by concat(…)"
            )));
        }
        if selects > MAX_SELECTS {
            return Err(DataFusionError::Plan(format!(
                "the query has more SELECT clauses and joins than {MAX_SELECTS}, the limit: a conversion works row by row, for which one is enough"
            )));
        }
    }
    Ok(())
}

/// Starts the count of a new expression at the same depth.
fn reset(chains: &mut [usize]) {
    chains.last_mut().into_iter().for_each(|chain| *chain = 0);
}

/// Role of a token in counting operators and nesting.
enum Kind {
    Opens,
    Closes,
    Separates,
    Selects,
    Operates,
    Other,
}

fn kind_of(token: &Token) -> Kind {
    match token {
        Token::LParen => Kind::Opens,
        Token::RParen => Kind::Closes,
        Token::Comma | Token::SemiColon => Kind::Separates,
        Token::Word(word) => match word.keyword {
            Keyword::CASE => Kind::Opens,
            Keyword::END => Kind::Closes,
            Keyword::SELECT | Keyword::JOIN => Kind::Selects,
            Keyword::FROM | Keyword::WHERE | Keyword::WHEN | Keyword::THEN | Keyword::ELSE => Kind::Separates,
            Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::IS | Keyword::IN => Kind::Operates,
            Keyword::LIKE | Keyword::ILIKE | Keyword::BETWEEN | Keyword::COLLATE | Keyword::AT => Kind::Operates,
            _ => Kind::Other,
        },
        Token::Eq | Token::Neq | Token::Lt | Token::Gt | Token::LtEq | Token::GtEq => Kind::Operates,
        Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::Mod | Token::StringConcat => Kind::Operates,
        Token::Ampersand | Token::Pipe | Token::Caret | Token::DoubleColon | Token::LBracket => Kind::Operates,
        _ => Kind::Other,
    }
}
