//! Checks of incomplete uploads, whose ids, parts and last bytes an executor reported.
//!
//! The store lists the parts of an upload with sizes and entity tags, but not their content. Checked here are: the
//! upload has the key of this output; its parts are those reported, and have the reported size together; its last part
//! is the reported one, by its entity tag if that is an MD5, or else by uploading that part again. Content before the
//! last part is not checked: it can be read only once the upload is completed, which is after the commit.

use super::{BucketStaging, REQUESTS_AT_ONCE, StagedFile, Tail, Upload};
use crate::bucket::{fail, status};
use crate::staging::private::untrue;
use crate::{Storage, StorageError, StorageResult};
use aws_sdk_s3::Client;
use futures::stream::{self, StreamExt};
use md5::{Digest, Md5};
use std::io;

/// Limit of an upload's id, in bytes. Stores use a few hundred.
const MAX_ID_BYTES: usize = 2048;
/// Limit of an entity tag, in bytes. Stores use a few dozen.
const MAX_ETAG_BYTES: usize = 256;

impl BucketStaging {
    pub(in crate::staging) fn examine(
        &self,
        storage: &Storage,
        files: &[&StagedFile],
        look: &mut dyn FnMut(&Tail<'_>) -> io::Result<()>,
    ) -> Result<(), (usize, StorageError)> {
        let (mut asked, mut ends) = (Vec::with_capacity(files.len()), Vec::with_capacity(files.len()));
        for (number, file) in files.iter().enumerate() {
            let key = self.key(&file.name);
            let (upload, offset) =
                end_of(file).map_err(|e| (number, StorageError::new("look at the upload of", &key, e)))?;
            ends.push((offset, upload.tail.as_slice()));
            asked.push((key, upload.clone(), file.size_bytes));
        }
        let bucket = self.bucket.clone();
        let checked = storage.threads.wait(|client| async move {
            let check = |(key, upload, size_bytes)| check_parts(&client, &bucket, key, upload, size_bytes);
            let checks: Vec<_> = asked.into_iter().map(check).collect();
            Ok(stream::iter(checks).buffered(REQUESTS_AT_ONCE).collect::<Vec<_>>().await)
        });
        for (number, checked) in checked.map_err(|e| (0, e))?.into_iter().enumerate() {
            checked.map_err(|e| (number, e))?;
        }
        (0..).zip(ends).zip(files).try_for_each(|((number, (offset, bytes)), file)| {
            let fail = |e| (number, StorageError::new("read the footer of", self.key(&file.name), e));
            look(&Tail { file: number, offset, bytes }).map_err(fail)
        })
    }
}

/// The upload of an output, and the offset of its reported tail.
fn end_of(file: &StagedFile) -> io::Result<(&Upload, u64)> {
    let upload = file.upload.as_ref().ok_or_else(|| untrue("no upload was reported".to_owned()))?;
    let is_short = upload.id.len() <= MAX_ID_BYTES && upload.parts.iter().all(|etag| etag.len() <= MAX_ETAG_BYTES);
    if !is_short || upload.id.is_empty() || upload.parts.is_empty() || upload.tail.is_empty() {
        return Err(untrue("its upload was reported without an id, parts or an end, or with too long ones".to_owned()));
    }
    let offset = file.size_bytes.checked_sub(upload.tail.len() as u64);
    Ok((upload, offset.ok_or_else(|| untrue(format!("its end is longer than its {} bytes", file.size_bytes)))?))
}

/// Compares a reported upload with the store's list of its parts.
async fn check_parts(client: &Client, bucket: &str, key: String, upload: Upload, size_bytes: u64) -> StorageResult<()> {
    let what = format!("s3://{bucket}/{key}");
    let no_match = |why: String| StorageError::new("look at the upload of", &what, untrue(why));
    let request = client.list_parts().bucket(bucket).key(&key).upload_id(&upload.id);
    let mut pages = request.into_paginator().send();
    let (mut found, mut bytes, mut last_bytes) = (0, 0, 0);
    while let Some(page) = pages.next().await {
        let page = match page {
            Err(e) if status(&e) == Some(404) => return Err(no_match("there is none of this id".to_owned())),
            page => page.map_err(|e| fail("look at the upload of", &what, e))?,
        };
        for part in page.parts() {
            let etag = upload.parts.get(found).map(|etag| unquoted(etag));
            found += 1;
            let is_next = part.part_number().and_then(|number| usize::try_from(number).ok()) == Some(found);
            if !is_next || etag.is_none() || etag != part.e_tag().map(unquoted) {
                return Err(no_match(format!("part {found} is not the one that was reported")));
            }
            last_bytes = part.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
            bytes += last_bytes;
        }
    }
    let (parts, end) = (upload.parts.len(), upload.tail.len());
    if found != parts || bytes != size_bytes || last_bytes != end as u64 {
        let reported = format!("{parts} parts of {size_bytes} bytes, the last of {end}, were reported");
        return Err(no_match(format!("it has {found} parts of {bytes} bytes, the last of {last_bytes}; {reported}")));
    }
    Ok(())
}

/// Tells whether an entity tag proves the content of a part. Not the case where a store encrypts with keys of its own,
/// since the tag is then not an MD5.
pub(super) fn is_proved(etag: &str, content: &[u8]) -> bool {
    let digest: String = Md5::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    unquoted(etag).eq_ignore_ascii_case(&digest)
}

fn unquoted(etag: &str) -> &str {
    etag.trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_tag_proves_only_its_own_content() {
        assert!(is_proved("\"9a0364b9e99bb480dd25e1f0284c8555\"", b"content"));
        assert!(!is_proved("\"9a0364b9e99bb480dd25e1f0284c8555\"", b"other"));
        assert!(!is_proved("", b""));
    }

    #[test]
    fn an_output_without_its_end_is_refused() {
        let file = |upload: serde_json::Value| -> StagedFile {
            let name = "00000-67e55044-10b1-426f-9247-bb680e5fe0c8.part";
            serde_json::from_value(serde_json::json!({"name": name, "size_bytes": 3, "upload": upload})).unwrap()
        };
        let whole = serde_json::json!({"id": "i", "parts": ["e"], "tail": "YWJj"});
        assert_eq!(end_of(&file(whole.clone())).unwrap().1, 0);
        for (field, value) in [
            ("id", serde_json::json!("")),
            ("id", serde_json::json!("i".repeat(MAX_ID_BYTES + 1))),
            ("parts", serde_json::json!([])),
            ("parts", serde_json::json!(["e".repeat(MAX_ETAG_BYTES + 1)])),
            ("tail", serde_json::json!("")),
            ("tail", serde_json::json!("YWJjZA==")),
        ] {
            let mut upload = whole.clone();
            upload[field] = value;
            assert!(end_of(&file(upload)).is_err(), "{field}");
        }
        assert!(end_of(&file(serde_json::Value::Null)).is_err());
    }
}
