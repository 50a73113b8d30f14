//! Lines like those that conversions meet: `events` with nested values and optional keys, `wide` with many keys and nulls,
//! `text` with long text and escapes, `arrays` with many numbers.

// Who includes it uses some of it.
#![allow(dead_code)]

use fastrand::Rng;

pub(crate) const SHAPES: [&str; 4] = ["events", "wide", "text", "arrays"];

/// Lines of a shape, `bytes` and a little more, the same each time.
pub(crate) fn lines(shape: &str, bytes: usize) -> Vec<u8> {
    let mut rng = Rng::with_seed(7);
    let mut lines = String::new();
    while lines.len() < bytes {
        lines += &line(shape, &mut rng);
        lines.push('\n');
    }
    lines.into_bytes()
}

/// A line of a shape, without its newline.
pub(crate) fn line(shape: &str, rng: &mut Rng) -> String {
    match shape {
        "wide" => wide(rng),
        "text" => text(rng),
        "arrays" => arrays(rng),
        _ => event(rng),
    }
}

fn words(rng: &mut Rng, count: usize) -> String {
    const WORDS: [&str; 8] = ["ba", "corsol", "ist", "xanholmar", "und", "Zürich", "graund", "yor"];
    let words: Vec<_> = (0..count).map(|_| WORDS[rng.usize(..WORDS.len())]).collect();
    words.join(" ")
}

fn event(rng: &mut Rng) -> String {
    let mut members = vec![
        format!(r#""event_id":"{:032x}""#, rng.u128(..)),
        format!(r#""event_time":"2025-12-23T{:02}:{:02}:{:02}Z""#, rng.u8(..24), rng.u8(..60), rng.u8(..60)),
        format!(r#""event_type":"{}""#, ["page_view", "click", "purchase"][rng.usize(..3)]),
        format!(r#""user_id":{}"#, rng.u64(1 << 60..)),
        format!(r#""country":"{}""#, ["DE", "JP", "BR"][rng.usize(..3)]),
        format!(r#""url":"https://shop.example.com/{}?q={}%20x""#, rng.u16(..), rng.u32(..)),
        format!(r#""is_authenticated":{}"#, rng.bool()),
        format!(r#""message":"{}""#, words(rng, 6)),
        format!(r#""tags":["{}","{}"]"#, words(rng, 1), words(rng, 1)),
    ];
    if rng.u8(..3) > 0 {
        members.push(format!(r#""amount":{}.{:02}"#, rng.u16(..900), rng.u8(..100)));
    }
    members.push(format!(
        r#""context":{{"device":{{"model":"{}","screen":[{},{}],"battery":0.{}}},"trace_id":"{:x}","sampled":null}}"#,
        words(rng, 1),
        rng.u16(..2000),
        rng.u16(..2000),
        rng.u8(..100),
        rng.u128(..)
    ));
    if rng.u8(..4) == 0 {
        members.push(r#""utm_campaign":null"#.to_owned());
    }
    format!("{{{}}}", members.join(","))
}

fn wide(rng: &mut Rng) -> String {
    let mut members = vec![format!(r#""id":"{:032x}""#, rng.u128(..))];
    for column in 0..150 {
        let value = match rng.u8(..20) {
            0 | 1 => continue,
            2 => format!("{}", rng.u16(..1000)),
            3 => format!("{}.{:02}", rng.u8(..100), rng.u8(..100)),
            4 => format!("\"{}\"", words(rng, 1)),
            _ => "null".to_owned(),
        };
        members.push(format!(r#""{}_{column:03}":{value}"#, ["metric", "flag", "dim", "net", "attr"][column % 5]));
    }
    format!("{{{}}}", members.join(","))
}

fn text(rng: &mut Rng) -> String {
    let mut body = String::new();
    for _ in 0..rng.usize(5..20) {
        body += &words(rng, 25);
        body += r#" \"graund\" 🚀 <a href=\"https:\/\/www.example.com\/\">\u4eac\ud83d\ude00</a>\r\n\t- "#;
    }
    let (id, score, title) = (rng.u64(..1 << 40), rng.f64() * 10.0, words(rng, 6));
    format!(
        r#"{{"id": {id}, "author": "{}", "title": "{title}", "score": {score:.3}, "body": "{body}"}}"#,
        words(rng, 2)
    )
}

fn arrays(rng: &mut Rng) -> String {
    let separator = [",", ", "][rng.usize(..2)];
    let number = |rng: &mut Rng| match rng.u8(..20) {
        0 => format!("{:e}", rng.f32() - 0.5),
        1 => format!("{}", rng.i16(..)),
        _ => format!("{:.4}", 2.0 * rng.f32() - 1.0),
    };
    let numbers: Vec<_> = (0..rng.usize(..400)).map(|_| number(rng)).collect();
    format!(r#"{{"series":"{}","values":[{}]}}"#, words(rng, 1), numbers.join(separator))
}
