//! A folder in tmpfs for what servers serve, gone with its owner.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Where folders lie: memory, so that no disk is measured.
const TMPFS: &str = "/dev/shm";
const NAME: &str = "millrace-lab-";

/// The folder; removed when dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one for this process, and removes those of processes that were killed before they could.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> Result<Scratch> {
        for entry in std::fs::read_dir(TMPFS).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let owner = name.to_str().and_then(|name| name.strip_prefix(NAME)?.split('-').next()?.parse::<u32>().ok());
            if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                // Another process may be about to do the same.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let pid = std::process::id();
        let free = (0_u32..).map(|n| PathBuf::from(format!("{TMPFS}/{NAME}{pid}-{n}"))).find(|path| !path.exists());
        let path = free.context("no name is left for a folder")?;
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Scratch(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_owner_and_that_of_a_killed_process_with_the_next() {
        // Above the kernel's largest pid.
        let left = PathBuf::from(format!("{TMPFS}/{NAME}4194305-0"));
        std::fs::create_dir_all(&left).unwrap();
        let (one, other) = (Scratch::new().unwrap(), Scratch::new().unwrap());
        assert!(!left.exists() && one.path() != other.path());
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists() && other.path().exists());
    }
}
