//! Options of the HTTP API.

use super::tokens::Tokens;
use crate::base_path::BasePath;
use crate::cost::read_prices;
use clap::Args;
use clap::builder::FalseyValueParser;
use millwork_api::Prices;
use millwork_net::{ClientTrust, Identity, ServerTls};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Default limit of connections, if the process may open enough files.
const MAX_CONNECTIONS: u32 = 512;

/// Options of the HTTP API: its address, and who may ask.
#[derive(Args, Clone, Debug)]
pub struct HttpOptions {
    /// Address for the HTTP API. One that others can reach needs tokens and a certificate
    #[arg(long = "http", env = "HTTP_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub address: SocketAddr,

    /// File with the tokens of API clients, a line each, as `millwork token new` makes them; it is read again when it
    /// changes. A file with nothing but one token, or MILLWORK_TOKEN in the environment, is one that may do everything.
    /// Without any, only the user who starts the scheduler may ask, whose commands find a token by themselves
    #[arg(long, env = "HTTP_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Certificate for HTTPS, in PEM, with those that lead to its authority; it is read again when it changes
    #[arg(long, env = "HTTP_TLS_CERT", value_name = "FILE", requires = "http_tls_key")]
    pub http_tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM
    #[arg(long, env = "HTTP_TLS_KEY", value_name = "FILE", requires = "http_tls_cert")]
    pub http_tls_key: Option<PathBuf>,

    /// Names, beside localhost, that requests may be sent to, such as that of a proxy on this machine. On an address that
    /// others can reach any name is taken unless some are given
    #[arg(long, env = "HTTP_HOSTS", value_name = "NAME,…", value_delimiter = ',')]
    pub http_host: Vec<String>,

    /// Path below which a proxy shows the web UI and the API, such as /millwork, whether or not the proxy takes it away from requests
    #[arg(long, env = "HTTP_BASE_PATH", value_name = "PATH", default_value = "")]
    pub http_base_path: BasePath,

    /// Show /metrics without a token
    #[arg(long, env = "OPEN_METRICS", value_parser = FalseyValueParser::new())]
    pub open_metrics: bool,

    /// Connections that the API has at once, at most a quarter of the files that the process may open; half of them
    /// from one address. Beyond, one without a request makes room, of the address that has the most of these
    #[arg(long, env = "HTTP_MAX_CONNECTIONS", value_name = "N", default_value_t = MAX_CONNECTIONS, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    pub http_max_connections: u32,

    /// Take requests, and the tokens in them, in plain text on an address that others can reach
    #[arg(long, env = "INSECURE_HTTP", value_parser = FalseyValueParser::new())]
    pub insecure_http: bool,

    /// File of prices by which the API reckons costs, as docs/prices.toml is written [default: those of AWS that come with it]
    #[arg(long, env = "MILLWORK_PRICES", value_name = "FILE")]
    pub prices: Option<PathBuf>,

    /// Replaced by two other options
    #[arg(long, hide = true)]
    pub(super) insecure: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8080),
            token_file: None,
            http_tls_cert: None,
            http_tls_key: None,
            http_host: Vec::new(),
            http_base_path: BasePath::default(),
            open_metrics: false,
            http_max_connections: MAX_CONNECTIONS,
            insecure_http: false,
            prices: None,
            insecure: false,
        }
    }
}

/// Options, tokens, certificate and prices of the API, read before it listens.
pub struct HttpDoor {
    pub(crate) options: HttpOptions,
    pub(crate) tokens: Option<Tokens>,
    pub(crate) tls: Option<ServerTls>,
    pub(crate) prices: Prices,
}

impl HttpOptions {
    /// Reads tokens and certificate. Refuses settings that would let strangers in.
    pub fn door(&self) -> anyhow::Result<HttpDoor> {
        self.check_retired()?;
        let (tokens, tls) = (Tokens::configured(self.token_file.as_deref())?, self.tls()?);
        self.check_reach(&tokens, &tls)?;
        let prices = read_prices(self.prices.as_deref())?;
        Ok(HttpDoor { options: self.clone(), tokens, tls, prices })
    }

    /// All errors for which the API would refuse to start, as far as they show without listening.
    pub(crate) fn problems(&self) -> Vec<anyhow::Error> {
        let (tokens, tls) = (Tokens::configured(self.token_file.as_deref()), self.tls());
        let reach = match (&tokens, &tls) {
            (Ok(tokens), Ok(tls)) => self.check_reach(tokens, tls).err(),
            _ => None,
        };
        let prices = read_prices(self.prices.as_deref()).err().map(Into::into);
        let found = [self.check_retired().err(), tokens.err(), tls.err(), reach, prices];
        found.into_iter().flatten().collect()
    }

    fn check_retired(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.insecure,
            "--insecure is no longer there: say --insecure-http for an HTTP API without TLS, --insecure-executors for \
             executors without encryption, or both"
        );
        Ok(())
    }

    fn tls(&self) -> anyhow::Result<Option<ServerTls>> {
        let (Some(certificate), Some(key)) = (&self.http_tls_cert, &self.http_tls_key) else { return Ok(None) };
        let identity = Identity { certificate: certificate.clone(), key: key.clone() };
        Ok(Some(ServerTls::open("api", identity, ClientTrust::Unasked, &["http/1.1"])?))
    }

    /// Refuses an address that other hosts can reach without tokens, or without encryption.
    fn check_reach(&self, tokens: &Option<Tokens>, tls: &Option<ServerTls>) -> anyhow::Result<()> {
        if !self.address.ip().is_loopback() {
            let address = self.address;
            anyhow::ensure!(
                tokens.is_some(),
                "refusing to listen on {address}, which others can reach, without a token: make one with `millwork token \
                 new` and name its file with --token-file"
            );
            anyhow::ensure!(
                tls.is_some() || self.insecure_http,
                "refusing to listen on {address}, which others can reach, without TLS: name a certificate with \
                 --http-tls-cert and --http-tls-key, or say --insecure-http if what leads there is encrypted already"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        http: HttpOptions,
    }

    fn door(arguments: &[&str]) -> Result<HttpDoor, String> {
        let command = Command::try_parse_from([&["it"][..], arguments].concat()).map_err(|e| e.to_string())?;
        command.http.door().map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn others_are_listened_to_only_with_a_token_and_tls_or_at_a_risk() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s".repeat(32)).unwrap();
        let token = ["--token-file", file.path().to_str().unwrap()];
        let everywhere = ["--http", "0.0.0.0:0"];
        assert!(door(&[]).is_ok());
        assert!(door(&everywhere).err().unwrap().contains("without a token"));
        let risk = [&everywhere[..], &["--insecure-http"]].concat();
        assert!(door(&risk).err().unwrap().contains("without a token"));
        let with_token = [&everywhere[..], &token].concat();
        assert!(door(&with_token).err().unwrap().contains("without TLS"));
        assert!(door(&[&risk[..], &token].concat()).is_ok());
        std::fs::write(file.path(), "s".repeat(31)).unwrap();
        let error = door(&[&risk[..], &token].concat()).err().unwrap();
        assert!(error.contains("31 characters"), "{error}");
    }

    #[test]
    fn the_former_option_names_its_successors() {
        let error = door(&["--insecure"]).err().unwrap();
        assert!(error.contains("--insecure-http") && error.contains("--insecure-executors"), "{error}");
        assert!(door(&["--http-tls-cert", "/c.pem"]).err().unwrap().contains("--http-tls-key"));
    }
}
