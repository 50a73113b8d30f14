//! Expiry of the process's certificates, in Prometheus text format.

use millwork_net::{CertificateEnd, CertificatesInUse};
use std::fmt::Write;

const NAME: &str = "millwork_tls_certificate_expiry_timestamp_seconds";

/// Metric of all certificates in use; empty if there are none.
pub(crate) fn render(in_use: &CertificatesInUse) -> String {
    written(&in_use.ends())
}

fn written(ends: &[CertificateEnd]) -> String {
    let mut text = String::new();
    if ends.is_empty() {
        return text;
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "# HELP {NAME} When the certificates of a file end, since 1970\n# TYPE {NAME} gauge\n");
    for CertificateEnd { purpose, file, ends } in ends {
        let file = escaped(&file.to_string_lossy());
        let _ = writeln!(text, "{NAME}{{purpose=\"{purpose}\",file=\"{file}\"}} {ends}");
    }
    text.push('\n');
    text
}

/// Escapes the value of a label, which may be any text.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_a_line_and_none_has_two() {
        assert_eq!(written(&[]), "");
        let end = |file: &str, ends| CertificateEnd { purpose: "api", file: file.into(), ends };
        let text = written(&[end("/etc/tls.crt", 1_800_000_000), end("/a\\b\"c\nd", -1)]);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                &format!("{NAME}{{purpose=\"api\",file=\"/etc/tls.crt\"}} 1800000000")[..],
                &format!("{NAME}{{purpose=\"api\",file=\"/a\\\\b\\\"c\\nd\"}} -1"),
                "",
            ]
        );
    }
}
