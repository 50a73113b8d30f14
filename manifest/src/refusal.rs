//! Error messages for failed requests to AWS services and compatible servers: the reason, and advice on the
//! configuration.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind};

/// Limit of the part of a server's message that is shown: 300 bytes, about three lines of a terminal.
const MAX_SAID_BYTES: usize = 300;

/// AWS services in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// S3: objects in buckets.
    S3,
    /// DynamoDB: tables.
    DynamoDb,
    /// SQS: queues.
    Sqs,
}

impl Service {
    /// Environment variables that set the endpoint, in order of precedence.
    pub fn endpoint_variables(self) -> [&'static str; 2] {
        let own = match self {
            Self::S3 => "AWS_ENDPOINT_URL_S3",
            Self::DynamoDb => "AWS_ENDPOINT_URL_DYNAMODB",
            Self::Sqs => "AWS_ENDPOINT_URL_SQS",
        };
        [own, "AWS_ENDPOINT_URL"]
    }

    fn thing(self) -> &'static str {
        match self {
            Self::S3 => "bucket",
            Self::DynamoDb => "table",
            Self::Sqs => "queue",
        }
    }
}

/// A failed request. Displayed as one sentence: the reason, then the remedy.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// Service of the request.
    pub service: Service,
    /// Endpoint, if it is not that of AWS.
    pub endpoint: Option<&'a str>,
    /// Permission that the request needs, such as `s3:GetObject`.
    pub right: Option<&'a str>,
    /// Error code of the response.
    pub code: Option<&'a str>,
    /// Message of the response.
    pub message: Option<&'a str>,
    /// HTTP status of the response.
    pub status: Option<u16>,
    /// Region of the bucket, according to the response.
    pub region: Option<&'a str>,
    /// Underlying error, used if there was no response.
    pub error: &'a (dyn Error + 'static),
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answered = match (self.code, self.status) {
            (Some(code), _) => self.by_code(code),
            (None, Some(status)) => self.by_status(status),
            (None, None) => None,
        };
        match answered {
            Some((reason, advice)) => write!(f, "{reason}; {advice}"),
            None if self.code.is_some() || self.status.is_some() => self.as_said(f),
            None => self.without_answer(f),
        }
    }
}

impl Refusal<'_> {
    /// Reason and advice for an error code (Amazon S3, DynamoDB and SQS API references, "Error responses" and "Common
    /// errors").
    fn by_code(&self, code: &str) -> Option<(String, String)> {
        let thing = self.service.thing();
        let (reason, advice) = match code {
            "NoSuchBucket"
            | "ResourceNotFoundException"
            | "QueueDoesNotExist"
            | "AWS.SimpleQueueService.NonExistentQueue" => {
                return Some((
                    format!("there is no such {thing}"),
                    "create it, as `millwork bootstrap aws` does, or name another".to_owned(),
                ));
            }
            // The only code that an answer to HEAD has.
            "NotFound" if self.service == Service::S3 => return self.by_status(404),
            "InternalError" | "InternalServerError" | "InternalFailure" | "ServiceUnavailable" => {
                ("the server failed", "try again, and look at its log")
            }
            "NoSuchKey" => ("there is no such object", "check its name"),
            "AccessDenied" | "AccessDeniedException" | "AllAccessDisabled" => return Some(self.denied()),
            "InvalidAccessKeyId" | "UnrecognizedClientException" | "InvalidClientTokenId" => {
                ("the access key is not known there", "check AWS_ACCESS_KEY_ID, AWS_PROFILE or the role")
            }
            "SignatureDoesNotMatch" | "InvalidSignatureException" => {
                ("the secret key is not that of the access key", "check AWS_SECRET_ACCESS_KEY")
            }
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
                ("the credentials have expired", "get new ones, or run where a role renews them")
            }
            "InvalidToken" => ("the session token is not valid", "check AWS_SESSION_TOKEN"),
            "MissingAuthenticationTokenException" | "MissingAuthenticationToken" => {
                ("the request had no credentials", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
            }
            "RequestTimeTooSkewed" | "RequestExpired" => {
                ("this machine's clock differs too much from the server's", "set the clock")
            }
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
                return Some(self.elsewhere());
            }
            "SlowDown"
            | "ThrottlingException"
            | "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "RequestThrottled" => ("it takes no more requests for now", "try again, with less at once"),
            "InvalidBucketName" => ("that is no name of a bucket", "check the name"),
            "InvalidObjectState" => ("the object is archived", "restore it first"),
            "NotImplemented" | "MethodNotAllowed" => {
                ("the server does not know this request", "use one that speaks the whole protocol")
            }
            code if code.starts_with("KMS") => {
                ("the key of its encryption refuses", "allow kms:Decrypt and kms:GenerateDataKey on it")
            }
            _ => return None,
        };
        Some((reason.to_owned(), advice.to_owned()))
    }

    /// Reason and advice for a response without a code, as for HEAD.
    fn by_status(&self, status: u16) -> Option<(String, String)> {
        match status {
            301 | 307 | 308 => Some(self.elsewhere()),
            401 | 403 => Some(self.denied()),
            404 if self.service == Service::S3 => {
                Some(("there is no such object or bucket".to_owned(), "check its name".to_owned()))
            }
            429 | 503 => {
                Some(("it takes no more requests for now".to_owned(), "try again, with less at once".to_owned()))
            }
            _ => None,
        }
    }

    fn denied(&self) -> (String, String) {
        let advice = match self.right {
            Some(right) => format!("allow {right} on it in their policy, or use others"),
            None => format!("allow it in their policy and in that of the {}, or use others", self.service.thing()),
        };
        ("the credentials have no right to it".to_owned(), advice)
    }

    fn elsewhere(&self) -> (String, String) {
        let advice = match self.region {
            Some(region) => format!("set AWS_REGION to {}", plain(region)),
            None => "set AWS_REGION to its region".to_owned(),
        };
        (format!("the {} is in another region", self.service.thing()), advice)
    }

    /// The server's own message, used if there is no better one.
    fn as_said(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.message.filter(|said| !said.trim().is_empty()), self.code, self.status) {
            (Some(message), Some(code), _) => write!(f, "{} ({})", plain(message), plain(code)),
            (None, Some(code), _) => write!(f, "the server answers {}", plain(code)),
            (_, None, Some(status @ 500..)) => {
                write!(f, "the server failed (HTTP {status}); try again, and look at its log")
            }
            (_, None, Some(status)) => {
                let variables = self.service.endpoint_variables().join(" and ");
                write!(f, "the answer is HTTP {status} without a reason; check that {variables} name such a server")
            }
            (_, None, None) => f.write_str("it was refused without a reason"),
        }
    }

    /// Message for a failure without a response.
    fn without_answer(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.says("credential") {
            return self.without_credentials(f);
        }
        if self.says("region must be set") || self.says("missing region") {
            return write!(f, "no AWS region is set; {}", region_advice(self.service.thing()));
        }
        self.without_connection(f)
    }

    fn without_credentials(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = credentials_advice();
        match self.says("no providers in chain") || self.says("not enabled") || self.says("not loaded") {
            true => write!(f, "no AWS credentials were found; {set}"),
            false => write!(f, "the AWS credentials cannot be had: {}; {set}", plain(&self.innermost())),
        }
    }

    fn without_connection(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [own, all] = self.service.endpoint_variables();
        let (at, check) = match self.endpoint {
            Some(endpoint) => {
                let endpoint = endpoint.rsplit_once('@').map_or(endpoint, |(_, host)| host);
                (format!("`{}`", plain(endpoint)), format!("check {own} or {all}, and that the server runs"))
            }
            None => ("AWS".to_owned(), format!("check AWS_REGION and the network, or set {own} to another server")),
        };
        let kind = self.causes().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind).last();
        match kind {
            _ if self.says("certificate") => {
                write!(
                    f,
                    "the certificate of {at} is not trusted: {}; set AWS_CA_BUNDLE to its authority's",
                    plain(&self.innermost())
                )
            }
            _ if self.says("not a valid uri") => {
                write!(f, "{at} is no URL; set {own} or {all} to one such as http://HOST:PORT")
            }
            _ if self.says("dns") || self.says("lookup address") => write!(f, "the host of {at} is unknown; {check}"),
            Some(ErrorKind::ConnectionRefused) => write!(f, "nothing listens at {at}; {check}"),
            Some(ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe) => {
                write!(f, "the connection to {at} broke off; {check}")
            }
            Some(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown) => {
                write!(f, "{at} cannot be reached; {check}")
            }
            _ if kind == Some(ErrorKind::TimedOut) || self.says("timeout") || self.says("timed out") => {
                write!(f, "no answer came from {at} in time; {check}")
            }
            _ => write!(f, "{at} gave no answer that can be read: {}; {check}", plain(&self.innermost())),
        }
    }

    /// The error and its causes, outermost first.
    fn causes(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        std::iter::successors(Some(self.error), |&error| error.source())
    }

    /// True if a cause contains a word, which is in lower case.
    fn says(&self, word: &str) -> bool {
        self.causes().any(|cause| cause.to_string().to_lowercase().contains(word))
    }

    fn innermost(&self) -> String {
        self.causes().last().map(ToString::to_string).unwrap_or_default()
    }
}

/// Value of AWS_PROFILE, unless it is empty.
fn named_profile() -> Option<String> {
    std::env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty())
}

/// Advice if there are no AWS credentials.
pub fn credentials_advice() -> String {
    advice_on_credentials(named_profile().as_deref())
}

/// Advice if no AWS region is set for a thing, such as a bucket.
pub fn region_advice(thing: &str) -> String {
    advice_on_region(thing, named_profile().as_deref())
}

/// Advice if there are no credentials; `profile` is the value of AWS_PROFILE, which may name a profile that does not exist.
fn advice_on_credentials(profile: Option<&str>) -> String {
    match profile {
        None => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run where a role gives them".to_owned()
        }
        Some(name) => format!(
            "check that AWS's files of settings (~/.aws) have the profile `{}` of AWS_PROFILE, with credentials, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            plain(name)
        ),
    }
}

/// Advice if there is no region; `profile` is the value of AWS_PROFILE.
fn advice_on_region(thing: &str, profile: Option<&str>) -> String {
    match profile {
        None => format!("set AWS_REGION to the {thing}'s, or AWS_PROFILE to a profile with one"),
        Some(name) => format!(
            "set AWS_REGION to the {thing}'s, or check that AWS's files of settings (~/.aws) have the profile `{}` of AWS_PROFILE, with a `region`",
            plain(name)
        ),
    }
}

/// Text of another program on one line, truncated after [`MAX_SAID_BYTES`], with control characters escaped.
fn plain(said: &str) -> String {
    let mut text = String::new();
    for character in said.trim().chars() {
        if text.len() >= MAX_SAID_BYTES {
            text.push('…');
            break;
        }
        match character {
            '\n' | '\t' => text.push(' '),
            character if character.is_control() => drop(write!(text, "{}", character.escape_default())),
            character => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<'a>(code: Option<&'a str>, status: Option<u16>, error: &'a (dyn Error + 'static)) -> Refusal<'a> {
        let (right, message) = (Some("s3:GetObject"), Some("Words of the server."));
        Refusal { service: Service::S3, endpoint: None, right, code, message, status, region: None, error }
    }

    #[test]
    fn answers_have_a_reason_and_advice_in_one_sentence() {
        let none = io::Error::other("none");
        for (code, status, words) in [
            (
                Some("NoSuchBucket"),
                404,
                "there is no such bucket; create it, as `millwork bootstrap aws` does, or name another",
            ),
            (Some("NoSuchKey"), 404, "there is no such object; check its name"),
            (None, 404, "there is no such object or bucket; check its name"),
            (
                Some("AccessDenied"),
                403,
                "the credentials have no right to it; allow s3:GetObject on it in their policy, or use others",
            ),
            (None, 403, "the credentials have no right to it; allow s3:GetObject on it in their policy, or use others"),
            (
                Some("InvalidAccessKeyId"),
                403,
                "the access key is not known there; check AWS_ACCESS_KEY_ID, AWS_PROFILE or the role",
            ),
            (
                Some("SignatureDoesNotMatch"),
                403,
                "the secret key is not that of the access key; check AWS_SECRET_ACCESS_KEY",
            ),
            (Some("ExpiredToken"), 400, "the credentials have expired; get new ones, or run where a role renews them"),
            (
                Some("RequestTimeTooSkewed"),
                403,
                "this machine's clock differs too much from the server's; set the clock",
            ),
            (Some("NotFound"), 404, "there is no such object or bucket; check its name"),
            (Some("InternalError"), 500, "the server failed; try again, and look at its log"),
            (Some("PermanentRedirect"), 301, "the bucket is in another region; set AWS_REGION to its region"),
            (Some("SlowDown"), 503, "it takes no more requests for now; try again, with less at once"),
            (
                Some("KMS.DisabledException"),
                400,
                "the key of its encryption refuses; allow kms:Decrypt and kms:GenerateDataKey on it",
            ),
            (Some("Odd"), 400, "Words of the server. (Odd)"),
            (None, 500, "the server failed (HTTP 500); try again, and look at its log"),
            (
                None,
                418,
                "the answer is HTTP 418 without a reason; check that AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL name such a server",
            ),
        ] {
            assert_eq!(refusal(code, Some(status), &none).to_string(), words);
        }
        let region = Refusal { region: Some("eu-west-3"), ..refusal(None, Some(301), &none) };
        assert_eq!(region.to_string(), "the bucket is in another region; set AWS_REGION to eu-west-3");
        let table =
            Refusal { service: Service::DynamoDb, ..refusal(Some("ResourceNotFoundException"), Some(400), &none) };
        assert!(table.to_string().starts_with("there is no such table; "), "{table}");
    }

    #[test]
    fn a_profile_that_may_not_exist_is_named() {
        for advice in [advice_on_credentials(Some("no\u{7}where")), advice_on_region("bucket", Some("no\u{7}where"))] {
            assert!(advice.contains("have the profile `no\\u{7}where` of AWS_PROFILE"), "{advice}");
        }
    }

    #[test]
    fn no_answer_has_a_reason_and_advice_in_one_sentence() {
        let said = |error: io::Error, endpoint| Refusal { endpoint, ..refusal(None, None, &error) }.to_string();
        let server = Some("http://user:secret@localhost:9");
        let check = "check AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, and that the server runs";
        assert_eq!(
            said(ErrorKind::ConnectionRefused.into(), server),
            format!("nothing listens at `localhost:9`; {check}")
        );
        assert_eq!(
            said(ErrorKind::ConnectionReset.into(), None),
            "the connection to AWS broke off; check AWS_REGION and the network, or set AWS_ENDPOINT_URL_S3 to another server"
        );
        for (words, part) in [
            ("no providers in chain provided credentials", "no AWS credentials were found; set AWS_ACCESS_KEY_ID"),
            ("credentials file `x` is odd", "the AWS credentials cannot be had: credentials file `x` is odd; set "),
            (
                "A region must be set when sending requests to S3.",
                "no AWS region is set; set AWS_REGION to the bucket's",
            ),
            ("invalid peer certificate: UnknownIssuer", "the certificate of `localhost:9` is not trusted: "),
            ("failed to lookup address information", "the host of `localhost:9` is unknown; "),
            ("Custom endpoint `x` was not a valid URI", "`localhost:9` is no URL; set AWS_ENDPOINT_URL_S3 or "),
            ("request timed out", "no answer came from `localhost:9` in time; "),
            ("o\x1b[2Jdd\nends", "`localhost:9` gave no answer that can be read: o\\u{1b}[2Jdd ends; "),
        ] {
            let text = said(io::Error::other(words), server);
            assert!(text.starts_with(part), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
        assert!(said(io::Error::other("x".repeat(9999)), None).len() < 600);
    }
}
