//! Address at which a scheduler listens for executors.

use std::fmt;
use std::str::FromStr;

/// `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return Err(format!(
                "`{text}` is a URL: executors need HOST:PORT, as the scheduler's --listen says it (50050 unless told), not its HTTP address"
            ));
        }
        let parts = text.trim().rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let (host, port) = parts.ok_or_else(|| format!("`{text}` is not HOST:PORT"))?;
        let port = port.parse().map_err(|_| format!("`{port}` in `{text}` is no port"))?;
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        let address = |text: &str| text.parse::<Address>().map(|address| address.to_string());
        assert_eq!(address("scheduler-0.millwork:50050").as_deref(), Ok("scheduler-0.millwork:50050"));
        assert_eq!(address("[::1]:50050").as_deref(), Ok("[::1]:50050"));
        for bad in ["", "host", ":1", "host:", "host:x", "host:70000"] {
            assert!(address(bad).is_err(), "{bad}");
        }
        assert!(address("http://127.0.0.1:8080").unwrap_err().contains("not its HTTP address"));
    }
}
