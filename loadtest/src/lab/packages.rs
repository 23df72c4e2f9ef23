//! Debian packages that peers come from.

use anyhow::{Context, Result, bail, ensure};
use std::process::Command;

/// Sees to it that what `is_there` looks for is there: with `install`, through apt-get.
///
/// # Errors
/// It is missing and may not be installed, or apt-get cannot install it; the error names the package.
pub fn need(package: &str, is_there: impl Fn() -> bool, install: bool) -> Result<()> {
    if is_there() {
        return Ok(());
    }
    ensure!(install, "the package {package} is missing: --install installs it, or apt-get install {package}");
    eprintln!("installing {package}");
    if !apt_get(&["install", "-y", "-qq", "--no-install-recommends", package])? {
        // Package lists that are old or not there at all.
        apt_get(&["update", "-qq"])?;
        apt_get(&["install", "-y", "-qq", "--no-install-recommends", package])?;
    }
    if !is_there() {
        bail!("apt-get could not install {package}; what it says: apt-get install {package}");
    }
    Ok(())
}

/// Whether it succeeded. What it says is dropped.
fn apt_get(arguments: &[&str]) -> Result<bool> {
    let sudo: &[&str] = if rustix::process::getuid().is_root() { &[] } else { &["sudo", "-n"] };
    let mut line = sudo.iter().chain(&["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]).chain(arguments);
    let program = line.next().context("an empty command")?;
    let output = Command::new(program).args(line).output().with_context(|| format!("cannot start {program}"))?;
    Ok(output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_and_what_is_there_is_not_installed() {
        assert!(need("a", || true, true).is_ok());
        let words = need("libnginx-mod-rtmp", || false, false).unwrap_err().to_string();
        assert!(words.contains("apt-get install libnginx-mod-rtmp"), "{words}");
    }
}
