//! Detection of lost outputs of a committed attempt, and withdrawal of its other outputs.
//!
//! | an output is | in a directory | in a bucket |
//! |---|---|---|
//! | publishable | its private file exists | its upload is open |
//! | published | a file of its size has its final name | an object of its size and mark has its key |
//! | lost | the file system reports that neither exists | the store reports that neither exists |
//!
//! Any other answer, or none, is an error and not a loss, since the output may exist and be unreachable for now.
//!
//! A withdrawal first makes publication impossible, then removes the published outputs. A process that publishes at the
//! same time either fails, or is undone by the second step.

use super::{Kind, StagedFile, StagingArea, bucket};
use crate::bucket::{fail, status};
use crate::{Storage, StorageError, StorageResult, bucket_and_key, path_of};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use futures::stream::{self, StreamExt, TryStreamExt};
use millwork_manifest::ObjectUri;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Limit of the concurrent requests for different outputs.
const REQUESTS_AT_ONCE: usize = 16;
/// Number of directories from a private file up to `_millwork`.
const DEPTH: usize = 4;

impl StagingArea {
    /// Fails with [`StorageError::is_lost`] if an output is neither publishable nor published. Changes nothing. In a
    /// bucket it takes a request per output.
    pub fn check_there(&self, outputs: &[(StagedFile, ObjectUri)]) -> StorageResult<()> {
        match &self.place.0 {
            Kind::Local(staging) => outputs.iter().try_for_each(|(file, to)| {
                let (from, shown) = (staging.path(file), path_of(to)?);
                let is_there = exists(&from)? || has_size(&shown, file.size_bytes)?;
                if is_there { Ok(()) } else { Err(lost(&from, to)) }
            }),
            Kind::Bucket(_) => self.for_each_upload(outputs, check_upload),
        }
    }

    /// Fails with [`StorageError::is_lost`] if the joined file is neither published, nor can be made of its private
    /// files any more.
    pub fn check_joined(&self, files: &[StagedFile], to: &ObjectUri) -> StorageResult<()> {
        for file in files {
            let (is_there, from) = match &self.place.0 {
                Kind::Local(staging) => (exists(&staging.path(file))?, Some(staging.path(file))),
                Kind::Bucket(staging) => {
                    let uri = staging.uri(&staging.key(&file.name));
                    let uri = uri.map_err(|e| StorageError::new("look for", to, io::Error::other(e)))?;
                    (self.storage.exists_blocking(&uri)?, None)
                }
            };
            if !is_there {
                let is_shown = is_joined(&self.storage, files, to)?;
                return if is_shown { Ok(()) } else { Err(lost(&from.unwrap_or_default(), to)) };
            }
        }
        Ok(())
    }

    /// Withdraws the outputs of a committed attempt of which some are lost: afterwards none is published, and none can
    /// be. Other files and objects of their names are kept. Idempotent.
    pub fn take_back(&self, outputs: &[(StagedFile, ObjectUri)]) -> StorageResult<()> {
        match &self.place.0 {
            Kind::Local(staging) => outputs.iter().try_for_each(|(file, to)| {
                let shown = path_of(to)?;
                remove(&staging.path(file))?;
                if has_size(&shown, file.size_bytes)? { remove(&shown) } else { Ok(()) }
            }),
            Kind::Bucket(_) => self.for_each_upload(outputs, take_back_upload),
        }
    }

    /// Withdraws a joined file: removes its private files first, then the file itself if it is published. Idempotent: a
    /// call after a crash removes the rest.
    pub fn take_back_joined(&self, files: &[StagedFile], to: &ObjectUri) -> StorageResult<()> {
        for file in files {
            match &self.place.0 {
                Kind::Local(staging) => remove(&staging.path(file))?,
                Kind::Bucket(staging) => {
                    let uri = staging.uri(&staging.key(&file.name));
                    let uri = uri.map_err(|e| StorageError::new("delete", to, io::Error::other(e)))?;
                    self.storage.remove_blocking(&uri)?;
                }
            }
        }
        if is_joined(&self.storage, files, to)? { self.storage.remove_blocking(to) } else { Ok(()) }
    }

    fn for_each_upload<F>(
        &self,
        outputs: &[(StagedFile, ObjectUri)],
        work: impl Fn(Client, StagedFile, ObjectUri) -> F + Send + 'static,
    ) -> StorageResult<()>
    where
        F: Future<Output = StorageResult<()>> + Send + 'static,
    {
        let outputs = outputs.to_vec();
        self.storage.threads.wait(|client| async move {
            let work = stream::iter(outputs).map(move |(file, to)| work(client.clone(), file, to));
            work.buffer_unordered(REQUESTS_AT_ONCE).try_collect().await
        })
    }
}

/// Error for an output that is lost for good. If Millwork's whole private directory is missing, the file system may not
/// be mounted, and the error says so instead.
fn lost(from: &Path, to: &ObjectUri) -> StorageError {
    match from.ancestors().nth(DEPTH).filter(|home| matches!(home.try_exists(), Ok(false))) {
        None => StorageError::lost(to),
        Some(home) => {
            let reason = format!("`{}` is not there: is its file system mounted?", home.display());
            StorageError::new("publish", to, io::Error::new(ErrorKind::NotFound, reason))
        }
    }
}

fn exists(path: &Path) -> StorageResult<bool> {
    path.try_exists().map_err(|e| StorageError::new("look for", path.display(), e))
}

fn has_size(path: &Path, size_bytes: u64) -> StorageResult<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len() == size_bytes),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(StorageError::new("look for", path.display(), e)),
    }
}

fn remove(path: &Path) -> StorageResult<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(StorageError::new("delete", path.display(), e)),
        _ => Ok(()),
    }
}

/// Tells whether the joined file exists, by its size.
fn is_joined(storage: &Storage, files: &[StagedFile], to: &ObjectUri) -> StorageResult<bool> {
    match storage.head_blocking(to) {
        Ok(there) => Ok(there.size_bytes == files.iter().map(|file| file.size_bytes).sum::<u64>()),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e),
    }
}

async fn check_upload(client: Client, file: StagedFile, to: ObjectUri) -> StorageResult<()> {
    let (Some(upload), Some((bucket, key))) = (&file.upload, bucket_and_key(&to)) else { return Ok(()) };
    let listed = client.list_parts().bucket(bucket).key(key).upload_id(&upload.id).max_parts(1).send().await;
    match listed {
        Ok(_) => Ok(()),
        Err(e) if e.code() == Some("NoSuchUpload") => match is_shown(&client, &file, &to).await? {
            true => Ok(()),
            false => Err(StorageError::lost(to)),
        },
        Err(e) => Err(fail("look for the upload of", &to, e)),
    }
}

async fn take_back_upload(client: Client, file: StagedFile, to: ObjectUri) -> StorageResult<()> {
    let (Some(upload), Some((bucket, key))) = (&file.upload, bucket_and_key(&to)) else { return Ok(()) };
    let aborted = client.abort_multipart_upload().bucket(bucket).key(key).upload_id(&upload.id).send().await;
    match aborted {
        Err(e) if e.code() != Some("NoSuchUpload") && status(&e) != Some(404) => {
            return Err(fail("abort the upload of", &to, e));
        }
        _ => {}
    }
    if !is_shown(&client, &file, &to).await? {
        return Ok(());
    }
    let deleted = client.delete_object().bucket(bucket).key(key).send().await;
    deleted.map(|_| ()).map_err(|e| fail("delete", &to, e))
}

/// Tells whether the object of an upload exists, by its size and mark.
async fn is_shown(client: &Client, file: &StagedFile, to: &ObjectUri) -> StorageResult<bool> {
    let (Some(upload), Some((bucket, key))) = (&file.upload, bucket_and_key(to)) else { return Ok(false) };
    match client.head_object().bucket(bucket).key(key).send().await {
        Ok(there) => {
            Ok(crate::bucket::size(&there) == file.size_bytes && bucket::has_mark(&there, upload.mark.as_ref()))
        }
        Err(e) if status(&e) == Some(404) => Ok(false),
        Err(e) => Err(fail("look for", to, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Location, Staging};
    use std::io::Write;

    /// A committed attempt with two outputs and rejected lines, none of them published.
    struct Attempt {
        root: tempfile::TempDir,
        staging: StagingArea,
        outputs: Vec<(StagedFile, ObjectUri)>,
        rejects: Vec<StagedFile>,
        rejects_uri: ObjectUri,
    }

    impl Attempt {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let place = Staging::new(&Location::Local(root.path().to_owned()), "m", 1, "");
            let staging = Storage::default().staging(place);
            staging.prepare().unwrap();
            let finish = |mut writer: crate::StagingWriter, name: &str| {
                writer.write_all(name.as_bytes()).unwrap();
                writer.finish().unwrap()
            };
            let uri = |name: &str| ObjectUri::from_path(&root.path().join(name)).unwrap();
            let output = |(number, name)| {
                (finish(staging.create_output(number).unwrap(), name), uri(&format!("{name}.parquet")))
            };
            let outputs = [(0, "a"), (1, "b")].map(output).into();
            let rejected = |name| finish(staging.create_rejects(0).unwrap(), name);
            let (rejects, rejects_uri) = (["c", "d"].map(rejected).into(), uri("rejects.ndjson"));
            Self { root, staging, outputs, rejects, rejects_uri }
        }

        fn private(&self, name: &str) -> std::path::PathBuf {
            let files = fs::read_dir(self.root.path().join("_millwork/staging/m/1")).unwrap();
            let mut files = files.map(|entry| entry.unwrap().path());
            files.find(|path| fs::read_to_string(path).unwrap() == name).unwrap()
        }

        fn check(&self) -> StorageResult<()> {
            self.staging.check_joined(&self.rejects, &self.rejects_uri)?;
            self.staging.check_there(&self.outputs)
        }
    }

    #[test]
    fn what_can_be_shown_or_is_shown_is_there() {
        let attempt = Attempt::new();
        attempt.check().unwrap();
        attempt.staging.publish_joined(&attempt.rejects, &attempt.rejects_uri).unwrap();
        attempt.check().unwrap();
        attempt.staging.publish(&attempt.outputs).unwrap().unwrap();
        attempt.check().unwrap();
    }

    #[test]
    fn what_is_nowhere_is_lost() {
        for name in ["a", "b", "c", "d"] {
            let attempt = Attempt::new();
            fs::remove_file(attempt.private(name)).unwrap();
            assert!(attempt.check().unwrap_err().is_lost(), "{name}");
        }
    }

    #[test]
    fn a_file_system_that_is_away_has_lost_nothing() {
        let attempt = Attempt::new();
        fs::remove_dir_all(attempt.root.path().join("_millwork/staging")).unwrap();
        assert!(attempt.check().unwrap_err().is_lost());
        fs::remove_dir_all(attempt.root.path().join("_millwork")).unwrap();
        for error in [attempt.check().unwrap_err(), attempt.staging.check_there(&attempt.outputs).unwrap_err()] {
            assert!(!error.is_lost() && error.to_string().contains("is its file system mounted?"), "{error}");
        }
    }

    #[test]
    fn what_is_taken_back_is_nowhere_and_comes_back_no_more() {
        let attempt = Attempt::new();
        let Attempt { staging, outputs, rejects, rejects_uri, root } = &attempt;
        staging.publish_joined(rejects, rejects_uri).unwrap();
        // The first output is published, the second is gone, and another file has its name.
        fs::hard_link(attempt.private("a"), root.path().join("a.parquet")).unwrap();
        fs::remove_file(attempt.private("b")).unwrap();
        fs::write(root.path().join("b.parquet"), "foreign").unwrap();
        for _ in 0..2 {
            staging.take_back(outputs).unwrap();
            staging.take_back_joined(rejects, rejects_uri).unwrap();
        }
        assert!(!root.path().join("a.parquet").exists() && !root.path().join("rejects.ndjson").exists());
        assert_eq!(fs::read(root.path().join("b.parquet")).unwrap(), b"foreign");
        // A process that still tries to publish fails.
        assert!(staging.publish(outputs).unwrap_err().is_lost());
        assert!(staging.publish_joined(rejects, rejects_uri).is_err());
        assert!(!root.path().join("a.parquet").exists() && !root.path().join("rejects.ndjson").exists());
    }
}
