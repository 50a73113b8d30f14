//! Check that files named together, as in a manifest, are each named once, and by the name that a listing shows.
//!
//! The rule is that of listings: a file inside one of the places is known by its own path, and a link to it is not a
//! second file. A file without such a name, in a directory that listings leave out, can be named by one link to it.

use crate::anchor::Anchored;
use crate::{Places, is_hidden, path_of};
use millwork_manifest::ObjectUri;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A name that would take a file a second time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecondName {
    /// A link to a file that has a name of its own in the input.
    #[error(
        "`{uri}` is reached by a link: the file is `{own}`, in the input, too; list it by that name, or put a file of its own in place of the link"
    )]
    Link {
        /// Name that was given.
        uri: ObjectUri,
        /// Own name of the file.
        own: ObjectUri,
    },
    /// Two given names of one file.
    #[error("`{first}` and `{second}` are one file, by way of a link: list it once")]
    Twice {
        /// Name that was given first.
        first: ObjectUri,
        /// Name that was given later.
        second: ObjectUri,
    },
}

impl Places {
    /// Refuses the first name that would take a local file twice: a link to a file that has a name of its own in the
    /// places, or a second name of a file. Missing files, and links that lead outside, are left to the reader of the
    /// file to refuse.
    pub fn check_own_names<'a>(&self, uris: impl IntoIterator<Item = &'a ObjectUri>) -> Result<(), SecondName> {
        let mut seen: HashMap<PathBuf, &ObjectUri> = HashMap::new();
        for uri in uris {
            let Some(real) = self.real_path(uri) else { continue };
            if let Some(own) = self.own_name(uri, &real) {
                return Err(SecondName::Link { uri: uri.clone(), own });
            }
            if let Some(first) = seen.insert(real, uri) {
                return Err(SecondName::Twice { first: first.clone(), second: uri.clone() });
            }
        }
        Ok(())
    }

    /// Path without links of a local file in the places; `None` if it is not there.
    fn real_path(&self, uri: &ObjectUri) -> Option<PathBuf> {
        let path = path_of(uri).ok().filter(|_| self.contains(uri))?;
        let anchored = Anchored::of(&path).ok().filter(|found| found.metadata().is_file())?;
        self.directory_of(anchored.path())?;
        Some(anchored.path().to_owned())
    }

    /// Name under which listings show a file, if it differs from the given one.
    fn own_name(&self, uri: &ObjectUri, real: &Path) -> Option<ObjectUri> {
        if self.is_without_links(&path_of(uri).ok()?, real) {
            return None;
        }
        let own = ObjectUri::from_path(real).ok()?;
        let is_listed = self.locations().filter_map(|place| place.key_of(&own)).any(|key| !is_hidden(&key));
        is_listed.then_some(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn uri(path: &Path) -> ObjectUri {
        ObjectUri::from_path(path).unwrap()
    }

    /// A place that is named through a link, the directory behind it, and the set of places.
    fn ground() -> (tempfile::TempDir, PathBuf, PathBuf, Places) {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().canonicalize().unwrap();
        let (input, named) = (real.join("in"), real.join("named"));
        fs::create_dir_all(input.join("folder")).unwrap();
        fs::create_dir_all(input.join(".volume")).unwrap();
        symlink(&input, &named).unwrap();
        for name in ["a", "folder/b", ".volume/c"] {
            fs::write(input.join(name), "{}\n").unwrap();
        }
        for (name, to) in [("link", "a"), ("to-folder", "folder"), ("data", ".volume"), ("file", "data/c")] {
            symlink(to, input.join(name)).unwrap();
        }
        let places = named.to_str().unwrap().parse().unwrap();
        (root, input, named, places)
    }

    #[test]
    fn a_link_to_what_has_a_name_of_its_own_is_no_second_file() {
        let (_root, input, named, places) = ground();
        for base in [&input, &named] {
            let check = |names: &[&str]| {
                places.check_own_names(&names.iter().map(|name| uri(&base.join(name))).collect::<Vec<_>>())
            };
            for names in [&["a", "folder/b"][..], &["data/c"], &["file"], &[".volume/c"], &["a", "none"]] {
                assert_eq!(check(names), Ok(()), "{names:?}");
            }
            for (name, own) in [("link", "a"), ("to-folder/b", "folder/b")] {
                let link = SecondName::Link { uri: uri(&base.join(name)), own: uri(&input.join(own)) };
                assert_eq!(check(&[name]), Err(link.clone()));
                assert_eq!(check(&[own, name]), Err(link));
            }
            let [first, second] = ["file", "data/c"].map(|name| uri(&base.join(name)));
            assert_eq!(check(&["file", "data/c"]), Err(SecondName::Twice { first, second }));
        }
        let [first, second] = [uri(&input.join("a")), uri(&named.join("a"))];
        assert_eq!(
            places.check_own_names([&first, &second]),
            Err(SecondName::Twice { first: first.clone(), second: second.clone() })
        );
    }

    #[test]
    fn what_is_elsewhere_is_not_looked_for_and_hard_links_are_files() {
        let (root, input, _, places) = ground();
        let outside = root.path().join("outside");
        fs::write(&outside, "{}\n").unwrap();
        symlink(&outside, input.join("out")).unwrap();
        symlink("loop", input.join("loop")).unwrap();
        fs::hard_link(input.join("a"), input.join("hard")).unwrap();
        let uris = ["out", "loop", "a", "hard"].map(|name| uri(&input.join(name)));
        let bucket: ObjectUri = "s3://in/a".parse().unwrap();
        assert_eq!(places.check_own_names(uris.iter().chain([&uri(&outside), &bucket, &bucket])), Ok(()));
    }
}
