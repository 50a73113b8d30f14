//! Objects in buckets of S3, and of servers that speak its protocol.

use crate::object::is_hidden;
use crate::patience;
use crate::places::{is_plain_key, percent_decoded};
use crate::requests::Counted;
use crate::{MAX_READ_BYTES, Object, StorageError, StorageResult, bucket_and_key};
use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::head_object::{HeadObjectError, HeadObjectOutput};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, EncodingType};
use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use millwork_manifest::{Compression, ObjectUri, Refusal, Service, bare_tag};
use std::fmt::Display;
use std::io::{self, ErrorKind};
use tokio::sync::OnceCell;

/// Largest object that a single request copies: 1 GiB, which takes less than the five minutes of an attempt at 3.6 MB/s.
/// S3 would copy up to 5 GiB (S3 API reference, CopyObject).
const MAX_COPY_BYTES: u64 = COPY_PART_BYTES;
/// Part size for copying a larger object: 1 GiB; the limit of 10,000 parts then exceeds the largest object.
const COPY_PART_BYTES: u64 = 1 << 30;

/// Reasons why an object is not listed, as shown to people.
const AMBIGUOUS: &str =
    "its key has an empty part, `.` or `..`, and is another object to some who handle it: copy it to a key without";

/// S3 client, created on first use.
#[derive(Default)]
pub(crate) struct Buckets {
    client: OnceCell<Client>,
}

/// Creates a client from the environment. Servers other than AWS expect the bucket in the path of the URL.
pub async fn client_from_env() -> Client {
    let shared = aws_config::defaults(BehaviorVersion::latest()).timeout_config(patience::of_any()).load().await;
    let has_endpoint =
        ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].into_iter().any(|name| std::env::var_os(name).is_some());
    let config =
        aws_sdk_s3::config::Builder::from(&shared).force_path_style(has_endpoint).interceptor(Counted::default());
    Client::from_conf(config.build())
}

impl Buckets {
    /// Buckets of this client.
    pub(crate) fn with_client(client: Client) -> Self {
        Self { client: OnceCell::new_with(Some(client)) }
    }

    pub(crate) async fn client(&self) -> &Client {
        self.client.get_or_init(client_from_env).await
    }

    pub(crate) async fn list(
        &self,
        bucket: &str,
        prefix: &str,
    ) -> StorageResult<BoxStream<'static, StorageResult<Object>>> {
        let folder = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        // A place may be a single file.
        let one = Some(prefix.to_owned()).filter(|prefix| Compression::of_key(prefix).is_some());
        let place = format!("s3://{bucket}/{folder}");
        let listed = one.as_ref().unwrap_or(&folder);
        // Keys are requested URL-encoded, since XML cannot represent all control characters that keys may have.
        let request = self.client().await.list_objects_v2().encoding_type(EncodingType::Url);
        let pages = request.bucket(bucket).prefix(listed).into_paginator().send();
        let bucket = bucket.to_owned();
        let listed_as = ListedAs { bucket, folder, one };
        let pages = stream::unfold(pages, |mut pages| async { pages.next().await.map(|page| (page, pages)) });
        let objects = pages.map(move |page| -> StorageResult<Vec<StorageResult<Object>>> {
            let page = page.map_err(|e| fail("list", &place, e))?;
            let is_encoded = page.encoding_type() == Some(&EncodingType::Url);
            Ok(page.contents().iter().filter_map(|found| listed_as.object(found, is_encoded)).collect())
        });
        Ok(objects.map_ok(stream::iter).try_flatten().boxed())
    }

    pub(crate) async fn head(&self, uri: &ObjectUri) -> StorageResult<Object> {
        head(self.client().await, uri).await
    }

    async fn meta(&self, bucket: &str, key: &str) -> Result<HeadObjectOutput, SdkError<HeadObjectError>> {
        meta(self.client().await, bucket, key).await
    }

    pub(crate) async fn read(&self, uri: &ObjectUri) -> StorageResult<Vec<u8>> {
        let (bucket, key) = located("read", uri)?;
        let got = self.client().await.get_object().bucket(bucket).key(key).send().await;
        let mut got = got.map_err(|e| fail("read", uri, e))?;
        let too_large = || StorageError::new("read", uri, ErrorKind::FileTooLarge.into());
        if got.content_length().is_some_and(|bytes| bytes as u64 > MAX_READ_BYTES) {
            return Err(too_large());
        }
        // Bounds the content itself, whatever length the server announced.
        let mut content = Vec::new();
        while let Some(piece) = got.body.next().await {
            let piece = piece.map_err(|e| StorageError::new("read", uri, io::Error::other(e)))?;
            if (content.len() + piece.len()) as u64 > MAX_READ_BYTES {
                return Err(too_large());
            }
            content.extend_from_slice(&piece);
        }
        Ok(content)
    }

    pub(crate) async fn write_once(&self, uri: &ObjectUri, content: &[u8]) -> StorageResult<bool> {
        let (bucket, key) = located("write", uri)?;
        let request = self.client().await.put_object().bucket(bucket).key(key).if_none_match("*");
        match request.body(content.to_vec().into()).send().await {
            Ok(_) => Ok(true),
            Err(e) if is_changed(&e) => Ok(false),
            Err(e) => Err(fail("write", uri, e)),
        }
    }

    pub(crate) async fn move_object(&self, from: &ObjectUri, to: &ObjectUri, etag: &str) -> StorageResult<()> {
        let what = format!("{from}` to `{to}");
        let (from_bucket, from_key) = located("move", from)?;
        let (to_bucket, to_key) = located("move", to)?;
        let source = self.meta(from_bucket, from_key).await.map_err(|e| fail("move", &what, e))?;
        check_etag(from, etag, &unquoted(source.e_tag()))?;
        let has_copied = match self.meta(to_bucket, to_key).await {
            // An earlier move that was interrupted after its copy is completed; any other object of that name is kept.
            Ok(there) if size(&there) == size(&source) && there.e_tag() == source.e_tag() => false,
            Ok(_) => return Err(StorageError::new("move", &what, ErrorKind::AlreadyExists.into())),
            Err(e) if status(&e) == Some(404) => {
                self.copy_whole(from, to, &source, &what).await?;
                true
            }
            Err(e) => return Err(fail("move", &what, e)),
        };
        let ended = self.delete_moved(from, etag, source.e_tag(), &what).await;
        match ended {
            // The source certainly exists still: the copy is removed again, so that the move happens as a whole or not
            // at all.
            Err((error, true)) if has_copied => {
                let _ = self.client().await.delete_object().bucket(to_bucket).key(to_key).send().await;
                Err(error)
            }
            Err((error, _)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    /// Copies the source of a move, and checks the size of the copy.
    async fn copy_whole(
        &self,
        from: &ObjectUri,
        to: &ObjectUri,
        source: &HeadObjectOutput,
        what: &str,
    ) -> StorageResult<()> {
        let (to_bucket, to_key) = located("move", to)?;
        self.copy(from, to, size(source), source.e_tag()).await?;
        let copied = self.meta(to_bucket, to_key).await.map_err(|e| fail("move", what, e))?;
        if size(&copied) == size(source) {
            return Ok(());
        }
        let reason = format!("copied {} of {} bytes", size(&copied), size(source));
        Err(StorageError::new("move", what, io::Error::other(reason)))
    }

    /// Deletes the source of a move, if it is still the object that was copied. The error tells whether the source
    /// certainly still exists.
    async fn delete_moved(
        &self,
        from: &ObjectUri,
        etag: &str,
        quoted: Option<&str>,
        what: &str,
    ) -> Result<(), (StorageError, bool)> {
        let (from_bucket, from_key) = located("move", from).map_err(|e| (e, false))?;
        // Checked before the conditional delete as well, since some stores ignore the condition: newer content must not
        // be deleted.
        let there = self.meta(from_bucket, from_key).await.map_err(|e| (fail("move", what, e), false))?;
        check_etag(from, etag, &unquoted(there.e_tag())).map_err(|e| (e, true))?;
        let request = self.client().await.delete_object().bucket(from_bucket).key(from_key);
        let deleted = request.set_if_match(quoted.map(ToOwned::to_owned)).send().await;
        deleted.map(|_| ()).map_err(|e| {
            let is_there = matches!(status(&e), Some(403 | 412));
            (fail("move", what, e), is_there)
        })
    }

    /// Copies within the store, if the object still has this entity tag.
    async fn copy(&self, from: &ObjectUri, to: &ObjectUri, size_bytes: u64, etag: Option<&str>) -> StorageResult<()> {
        let (from_bucket, from_key) = located("copy", from)?;
        let (bucket, key) = located("copy", to)?;
        let source = format!("{from_bucket}/{}", encoded(from_key));
        if size_bytes <= MAX_COPY_BYTES {
            let request = self.client().await.copy_object().copy_source(source).bucket(bucket).key(key);
            let copied = request.set_copy_source_if_match(etag.map(str::to_owned)).send().await;
            return copied.map(|_| ()).map_err(|e| fail("copy", from, e));
        }
        let client = self.client().await;
        let upload = client.create_multipart_upload().bucket(bucket).key(key).send().await;
        let upload = upload.map_err(|e| fail("copy", from, e))?;
        let id = &upload_id(upload.upload_id, to)?;
        let done = self.copy_parts(&source, to, id, size_bytes, etag).await;
        if done.is_err() {
            // An upload that cannot be aborted now is removed by the bucket's lifecycle rule for incomplete uploads.
            let _ = client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id).send().await;
        }
        done
    }

    async fn copy_parts(
        &self,
        source: &str,
        to: &ObjectUri,
        id: &str,
        size_bytes: u64,
        etag: Option<&str>,
    ) -> StorageResult<()> {
        let (bucket, key) = located("copy", to)?;
        let client = self.client().await;
        let mut parts = Vec::new();
        let ranges = (0..size_bytes).step_by(COPY_PART_BYTES as usize);
        for (number, start) in (1..).zip(ranges) {
            let end = (start + COPY_PART_BYTES).min(size_bytes) - 1;
            let request =
                client.upload_part_copy().copy_source(source).set_copy_source_if_match(etag.map(str::to_owned));
            let request = request.bucket(bucket).key(key).upload_id(id);
            let copied = request.part_number(number).copy_source_range(format!("bytes={start}-{end}")).send().await;
            let copied = copied.map_err(|e| fail("copy", to, e))?;
            let etag = copied.copy_part_result().and_then(|part| part.e_tag()).map(ToOwned::to_owned);
            parts.push(CompletedPart::builder().part_number(number).set_e_tag(etag).build());
        }
        let upload = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = client.complete_multipart_upload().bucket(bucket).key(key).upload_id(id);
        let completed = request.multipart_upload(upload).send().await;
        completed.map(|_| ()).map_err(|e| fail("copy", to, e))
    }
}

/// Place of a listing: its objects are named from there.
struct ListedAs {
    bucket: String,
    folder: String,
    /// The key of a place that may be one file.
    one: Option<String>,
}

impl ListedAs {
    /// An object of the listing; none for what is no file, or hidden.
    fn object(&self, found: &aws_sdk_s3::types::Object, is_encoded: bool) -> Option<StorageResult<Object>> {
        let full_key = if is_encoded { form_decoded(found.key()?)? } else { found.key()?.to_owned() };
        let full_key = full_key.as_str();
        let key = match full_key.strip_prefix(&self.folder) {
            Some(below) => below.to_owned(),
            None => self.one.as_ref().filter(|one| *one == full_key)?.rsplit('/').next()?.to_owned(),
        };
        // A key that ends in a slash is a folder created by a console.
        if key.is_empty() || key.ends_with('/') {
            return None;
        }
        let uri: ObjectUri = format!("s3://{}/{full_key}", self.bucket).parse().ok()?;
        if !is_plain_key(full_key) {
            return Some(Err(StorageError::foreign("list", uri, AMBIGUOUS)));
        }
        let object = Object {
            uri,
            key,
            size_bytes: found.size().and_then(|size| size.try_into().ok()).unwrap_or(0),
            etag: unquoted(found.e_tag()),
            version_id: None,
            modified_at: instant(found.last_modified()),
        };
        (!is_hidden(&object.key)).then_some(Ok(object))
    }
}

/// Id of an upload from the store's answer. Refuses a missing or empty one: without an id, parts and the abort would
/// address the object itself.
pub(crate) fn upload_id(answered: Option<String>, object: impl Display) -> StorageResult<String> {
    answered.filter(|id| !id.is_empty()).ok_or_else(|| {
        let [own, all] = Service::S3.endpoint_variables();
        let endpoint = [own, all].into_iter().find_map(|name| std::env::var(name).ok());
        // Host of the endpoint, without user name and password.
        let host = |endpoint: &str| endpoint.rsplit('@').next().unwrap_or_default().to_owned();
        let server = endpoint.as_deref().map_or_else(|| "the server".to_owned(), host);
        let reason = format!(
            "{server} says that it began a multipart upload, but not under which id, as no server of S3 does: check {own} or {all}, \
             and any proxy before it"
        );
        StorageError::new("write", object, io::Error::new(ErrorKind::InvalidData, reason))
    })
}

/// Refuses an object whose entity tag differs from the expected one.
pub(crate) fn check_etag(uri: &ObjectUri, wanted: &str, found: &str) -> StorageResult<()> {
    if wanted.is_empty() {
        let reason = "no entity tag is known of it, without which nothing is moved";
        return Err(StorageError::new("move", uri, io::Error::new(ErrorKind::InvalidInput, reason)));
    }
    if wanted == found {
        return Ok(());
    }
    let reason = format!("it has other content by now: etag {found}, not {wanted}");
    Err(StorageError::new("move", uri, io::Error::new(ErrorKind::NotFound, reason)))
}

/// Key, size, entity tag, version and time of one object.
pub(crate) async fn head(client: &Client, uri: &ObjectUri) -> StorageResult<Object> {
    let (bucket, key) = located("read", uri)?;
    let meta = meta(client, bucket, key).await.map_err(|e| fail("read", uri, e))?;
    Ok(Object {
        uri: uri.clone(),
        key: key.to_owned(),
        size_bytes: size(&meta),
        etag: unquoted(meta.e_tag()),
        version_id: meta.version_id().map(ToOwned::to_owned),
        modified_at: instant(meta.last_modified()),
    })
}

async fn meta(client: &Client, bucket: &str, key: &str) -> Result<HeadObjectOutput, SdkError<HeadObjectError>> {
    client.head_object().bucket(bucket).key(key).send().await
}

fn located<'a>(operation: &'static str, uri: &'a ObjectUri) -> StorageResult<(&'a str, &'a str)> {
    let not_there = || io::Error::new(ErrorKind::Unsupported, "it is in no bucket");
    bucket_and_key(uri).ok_or_else(|| StorageError::new(operation, uri, not_there()))
}

pub(crate) fn size(meta: &HeadObjectOutput) -> u64 {
    meta.content_length().and_then(|size| size.try_into().ok()).unwrap_or(0)
}

/// Entity tag without quotes: HTTP has them, events do not.
fn unquoted(etag: Option<&str>) -> String {
    bare_tag(etag.unwrap_or_default()).to_owned()
}

/// Decodes a key from a URL-encoded listing, with `+` for a space as in forms. `None` if the result is not UTF-8.
fn form_decoded(key: &str) -> Option<String> {
    String::from_utf8(percent_decoded(key.replace('+', " ").as_bytes())).ok()
}

fn instant(at: Option<&aws_sdk_s3::primitives::DateTime>) -> DateTime<Utc> {
    at.and_then(|at| DateTime::from_timestamp(at.secs(), at.subsec_nanos())).unwrap_or_default()
}

/// Encodes a key for the header `x-amz-copy-source`: percent-encoded except for slashes.
fn encoded(key: &str) -> String {
    use std::fmt::Write;
    key.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => text.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
        text
    })
}

/// Tells whether a request failed because of its condition: the object has another entity tag, or already exists.
pub(crate) fn is_changed<E>(error: &SdkError<E>) -> bool {
    status(error) == Some(412)
}

pub(crate) fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// Permission that an operation on an object needs (Amazon S3 User Guide, "Required permissions for Amazon S3 API
/// operations").
fn right_to(operation: &str) -> Option<&'static str> {
    match operation {
        "list" => Some("s3:ListBucket"),
        "read" => Some("s3:GetObject and s3:ListBucket"),
        "write" | "publish" | "create" => Some("s3:PutObject"),
        "move" | "copy" => Some("s3:GetObject, s3:PutObject and s3:DeleteObject"),
        "delete" => Some("s3:DeleteObject"),
        "look for" => Some("s3:GetObject and s3:ListBucket"),
        "abort the upload of" => Some("s3:AbortMultipartUpload"),
        "list the uploads of" => Some("s3:ListBucketMultipartUploads"),
        "look at the upload of" | "look for the upload of" => Some("s3:ListMultipartUploadParts"),
        _ => None,
    }
}

pub(crate) fn fail<E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static>(
    operation: &'static str,
    object: impl Display,
    error: SdkError<E>,
) -> StorageError {
    let kind = match status(&error) {
        Some(404) => ErrorKind::NotFound,
        Some(401 | 403) => ErrorKind::PermissionDenied,
        Some(400) if error.code() == Some("KeyTooLongError") => ErrorKind::InvalidFilename,
        _ => ErrorKind::Other,
    };
    let header = |name: &str| error.raw_response().and_then(|response| response.headers().get(name));
    let endpoint = Service::S3.endpoint_variables().into_iter().find_map(|name| std::env::var(name).ok());
    let refusal = Refusal {
        service: Service::S3,
        endpoint: endpoint.as_deref(),
        right: right_to(operation),
        code: error.code(),
        message: error.message(),
        status: status(&error),
        region: header("x-amz-bucket-region"),
        error: &error,
    };
    let message = refusal.to_string();
    StorageError::new(operation, object, io::Error::new(kind, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_without_an_id_is_no_upload() {
        assert_eq!(upload_id(Some("u1".to_owned()), "s3://out/a").unwrap(), "u1");
        for answered in [None, Some(String::new())] {
            let error = upload_id(answered, "s3://out/a").unwrap_err().to_string();
            assert!(error.contains("s3://out/a") && error.contains("not under which id"), "{error}");
            assert!(error.contains("AWS_ENDPOINT_URL_S3"), "{error}");
        }
    }

    #[test]
    fn keys_of_listings_are_decoded_once() {
        for (listed, key) in [
            ("d/2025-12-23-a+b%2Bc%2520.ndjson", "d/2025-12-23-a b+c%20.ndjson"),
            ("d/a%20b%0A%1B%5B2J", "d/a b\n\u{1b}[2J"),
            ("%C3%BC", "ü"),
        ] {
            assert_eq!(form_decoded(listed).as_deref(), Some(key));
        }
        assert_eq!(form_decoded("%ff"), None);
    }
}
