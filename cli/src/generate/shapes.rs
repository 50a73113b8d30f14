//! Shapes of generated lines.

use super::random::Random;
use chrono::NaiveDate;
use std::fmt::Write;

const SYLLABLES: [&str; 24] = [
    "ba", "cor", "del", "fin", "gra", "hol", "ist", "jun", "kel", "lor", "mar", "nes", "ont", "par", "qui", "ras",
    "sol", "tar", "und", "vel", "wen", "xan", "yor", "zem",
];
const UNICODE: [&str; 8] = ["Zürich", "São Paulo", "東京都", "Привет", "🚀", "łódź", "€ 1.299,00", "עברית"];
const TYPES: [&str; 8] = ["page_view", "page_view", "page_view", "click", "click", "search", "purchase", "error"];
const PLATFORMS: [&str; 4] = ["web", "ios", "android", "server"];
const COUNTRIES: [&str; 8] = ["US", "US", "US", "DE", "FR", "BR", "JP", "GB"];
const NUMBERS: [&str; 8] =
    ["1.0", "1e-7", "2.5E+3", "-0.0", "12345678901234567890", "0.10", "0", "1.7976931348623157e308"];

/// A random word; short ones are more frequent.
fn word(random: &mut Random) -> String {
    let count = 1 + random.below(3);
    (0..count).map(|_| random.pick(&SYLLABLES)).collect()
}

fn words(random: &mut Random, count: u64) -> String {
    (0..count).map(|_| word(random)).collect::<Vec<_>>().join(" ")
}

fn hex(random: &mut Random, digits: usize) -> String {
    let mut text = String::new();
    while text.len() < digits {
        let _ = write!(text, "{:016x}", random.next());
    }
    text.truncate(digits);
    text
}

fn time(date: NaiveDate, row: u64) -> String {
    let second = row % 86_400;
    format!("{date}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// A typical event: identifiers, enumerations, numbers in every notation, nested objects, text with escapes.
pub(super) fn event(random: &mut Random, date: NaiveDate, file: u32, row: u64) -> String {
    let r = random;
    let mut line = String::with_capacity(1200);
    let kind = r.pick(&TYPES);
    let _ = write!(line, r#"{{"event_id":"{}","event_time":"{}","event_type":"{kind}""#, hex(r, 32), time(date, row));
    add_user(&mut line, r);
    add_request(&mut line, r);
    let _ = write!(line, r#","is_authenticated":{},"duration_ms":{}"#, r.chance(0.6), r.below(60_000));
    if r.chance(0.9) {
        let number =
            if r.chance(0.1) { r.pick(&NUMBERS).to_owned() } else { format!("{}.{:02}", r.below(500), r.below(100)) };
        let _ = write!(line, r#","amount":{number}"#);
    }
    if r.chance(0.8) {
        add_message(&mut line, r);
    }
    let tags: Vec<_> = (0..r.below(5)).map(|_| format!("\"{}\"", word(r))).collect();
    let _ = write!(line, r#","tags":[{}]"#, tags.join(","));
    add_context(&mut line, r);
    if kind == "purchase" {
        add_items(&mut line, r);
    }
    if kind == "error" {
        let _ = write!(line, r#","error":{{"code":{},"type":"{}Exception"}}"#, r.below(600), word(r));
    }
    if file.is_multiple_of(7) {
        let _ = write!(line, r#","utm_campaign":"{}""#, word(r));
    }
    let _ = write!(line, r#","offset":{}}}"#, u64::from(file) * 1_000_000 + row);
    line
}

fn add_user(line: &mut String, r: &mut Random) {
    if r.chance(0.92) {
        let _ = write!(line, r#","user_id":{}"#, 1_000_000_000_000_000_000 + r.below(200_000) * 41_526_371_913);
    }
    let _ = write!(line, r#","session_id":"{}","platform":"{}""#, hex(r, 32), r.pick(&PLATFORMS));
    match r.below(10) {
        0..5 => drop(write!(line, r#","anonymous_id":"{}""#, hex(r, 32))),
        5..8 => line.push_str(r#","anonymous_id":null"#),
        _ => {}
    }
}

fn add_request(line: &mut String, r: &mut Random) {
    let _ = write!(
        line,
        r#","country":"{}","ip":"10.{}.{}.{}""#,
        r.pick(&COUNTRIES),
        r.below(256),
        r.below(256),
        r.below(256)
    );
    let _ = write!(
        line,
        r#","user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.{}.{} Safari/537.36""#,
        100 + r.below(30),
        4000 + r.below(20),
        10 + r.below(5)
    );
    let _ = write!(
        line,
        r#","url":"https://shop.example.com/{}/{}/{}?q={}%20{}""#,
        word(r),
        word(r),
        r.below(100_000),
        word(r),
        word(r)
    );
}

fn add_message(line: &mut String, r: &mut Random) {
    let count = 4 + r.below(14);
    let text = words(r, count);
    let _ = write!(line, r#","message":"{text}"#);
    if r.chance(0.3) {
        let _ = write!(line, r#" \"{}\"\n\tat com.example.{}(C:\\{})"#, word(r), word(r), word(r));
    }
    if r.chance(0.3) {
        let _ = write!(line, " {}\\u00e9", r.pick(&UNICODE));
    }
    line.push('"');
}

fn add_context(line: &mut String, r: &mut Random) {
    let _ = write!(
        line,
        r#","context":{{"device":{{"model":"{}","screen":[{},{}],"battery":0.{}}},"geo":{{"city":"{}","lat":{}.{:06}}},"trace_id":"{}","sampled":{}}}"#,
        word(r),
        360 + r.below(4) * 100,
        640 + r.below(4) * 100,
        r.below(100),
        word(r),
        r.below(90),
        r.below(1_000_000),
        hex(r, 32),
        r.chance(0.1)
    );
}

fn add_items(line: &mut String, r: &mut Random) {
    let item = |r: &mut Random| {
        format!(
            r#"{{"sku":"SKU-{:06}","qty":{},"price":{}.{:02}}}"#,
            r.below(20_000),
            1 + r.below(4),
            r.below(300),
            r.below(100)
        )
    };
    let items: Vec<_> = (0..1 + r.below(4)).map(|_| item(r)).collect();
    let _ = write!(line, r#","items":[{}]"#, items.join(","));
}

/// A wide row: 150 columns, most of them null or absent.
pub(super) fn wide(random: &mut Random, date: NaiveDate, file: u32, row: u64) -> String {
    let r = random;
    let mut line = format!(r#"{{"id":"{}","ts":"{}""#, hex(r, 32), time(date, row));
    for column in 2..150u32 {
        if (column % 29 == 5 && !file.is_multiple_of(5)) || r.chance(0.15) {
            continue;
        }
        let name = ["attr", "metric", "flag", "dim", "net"][column as usize % 5];
        let _ = write!(line, r#","{name}_{column:03}":"#);
        let is_null = r.chance(0.5 + f64::from(column % 10) / 20.0);
        let _ = match column % 6 {
            _ if is_null => write!(line, "null"),
            0 | 1 => write!(line, "{}", r.below(1000)),
            2 => write!(line, r#""{}""#, r.pick(&COUNTRIES)),
            3 => write!(line, "{}", r.chance(0.5)),
            4 => write!(line, "{}.{:02}", r.below(100), r.below(100)),
            _ => write!(line, r#""{}""#, word(r)),
        };
    }
    line.push('}');
    line
}

/// A document of a few kilobytes of text with escapes.
pub(super) fn text(random: &mut Random, date: NaiveDate, row: u64) -> String {
    let r = random;
    let paragraphs: Vec<_> = (0..3 + r.below(10))
        .map(|_| {
            let count = 30 + r.below(80);
            let text = words(r, count);
            format!(
                r#"{text} \"{}\" {} <a href=\"https://www.example.com\/{}\">\u4eac</a>"#,
                word(r),
                r.pick(&UNICODE),
                word(r)
            )
        })
        .collect();
    format!(
        r#"{{"id":{},"created_at":"{}","author":"{}.{}","title":"{}","score":{}.{},"body":"{}"}}"#,
        r.below(1_000_000_000_000),
        time(date, row),
        word(r),
        word(r),
        words(r, 7),
        r.below(10),
        r.below(1000),
        paragraphs.join(r"\r\n\t- ")
    )
}

/// Appends a line that is not a JSON object.
pub(super) fn dirty(random: &mut Random, into: &mut Vec<u8>) {
    let lines: [&[u8]; 10] = [
        b"",
        b"   ",
        b"not json at all",
        br#"{"event_id":"cut short","user"#,
        b"[1,2,3]",
        b"\"a string\"",
        br#"{"a":01}"#,
        br#"{"a":1}{"b":2}"#,
        b"{\"a\":\"tab\there\"}",
        b"{\"bytes\":\"\xff\xfe\"",
    ];
    into.extend_from_slice(random.pick(&lines));
}

/// The line with `count` additional columns at its end.
pub(super) fn with_late_columns(mut line: String, count: u32) -> String {
    for number in 1..=count {
        line.pop();
        let _ = write!(line, r#","late_column_{number}":"late"}}"#);
    }
    line
}
