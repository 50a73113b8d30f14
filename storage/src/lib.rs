//! Operations on objects: list, identify, move, write once, and publish many files so that a reader sees all of them or
//! none.
//!
//! [`Location`] is a local directory or a folder of a bucket. [`Places`] are the locations from which objects may be
//! read. [`Objects`] is the interface of the control plane to them; [`Storage`] implements it for directories and
//! buckets, [`MemoryObjects`] in memory. This crate knows nothing of manifests' contents, of DataFusion or of the
//! tracking store.

mod anchor;
mod blocking;
mod bucket;
mod buffers;
mod error;
mod local;
mod location;
mod memory;
mod modes;
mod object;
mod objects;
mod own_names;
mod patience;
mod permits;
mod places;
mod relocate;
mod requests;
mod staging;
mod threads;
mod transfer;
mod uploads;
mod walk;
mod way;

pub use bucket::client_from_env;
pub use error::{StorageError, StorageResult};
pub use local::{absolute, identity, path_of};
pub use location::{Location, bucket_and_key};
pub use memory::MemoryObjects;
pub use modes::{DIRECTORY_MODE, FILE_MODE, PRIVATE_FILE_MODE, create_new_file};
pub use object::{MAX_READ_BYTES, Object, is_hidden};
pub use objects::{Objects, Storage};
pub use own_names::SecondName;
pub use places::{InvalidPlace, Located, Places, open_inside};
pub use requests::describe_metrics;
pub use staging::{
    Arrange, Arranged, InvalidPrivateName, PrivateKind, PrivateName, RewriteTail, StagedFile, Staging, StagingArea,
    StagingWriter, Tail, base64_text, list_at_most,
};
pub use transfer::ObjectReader;
pub use uploads::OpenUploads;
pub use walk::{Listing, list};
pub use way::{check_way, create_directories};
