//! The directory that a command was started in.

use std::{
    env, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Returns the working directory under the name that `$PWD` has for it, where the two are the same. After
/// `cd /srv/current`, a link, that is `/srv/current`: a reload then follows the link to where it leads by that time.
///
/// # Errors
/// The directory was removed, may not be read, or has a name that is not UTF-8.
pub(super) fn of_the_start() -> io::Result<PathBuf> {
    let real = env::current_dir()?;
    let named = env::var_os("PWD").map(PathBuf::from);
    let directory = named.filter(|it| names(it, &real)).unwrap_or(real);
    if directory.to_str().is_none() {
        return Err(io::Error::other("its name is not UTF-8"));
    }
    Ok(directory)
}

/// Tells whether a path is another name of a directory, as pwd(1) has it: an absolute one without `.` and `..`.
fn names(path: &Path, directory: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    let plain = path.as_os_str().to_str().is_some_and(|path| {
        path.starts_with('/') && !path.split('/').any(|part| part == "." || part == "..")
    });
    plain && id(path).is_some_and(|it| id(directory) == Some(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_the_directory_is_a_name_of_it() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir(path("one")).unwrap();
        fs::create_dir(path("two")).unwrap();
        std::os::unix::fs::symlink("one", path("current")).unwrap();
        assert!(names(&path("one"), &path("one")));
        assert!(names(&path("current"), &path("one")));
        assert!(!names(&path("current"), &path("two")));
        assert!(!names(&path("one/../current"), &path("one")));
        assert!(!names(Path::new("current"), &path("one")));
        assert!(!names(&path("none"), &path("one")));
    }
}
