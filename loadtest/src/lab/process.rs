//! Processes of an experiment: pinned, waited for, and ended by their pid with what started them.

use anyhow::{Context, Result, bail};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Time that a server has to listen.
const START: Duration = Duration::from_secs(10);

/// A running server.
pub struct Process {
    child: Child,
    pub addr: SocketAddr,
    program: PathBuf,
    log: PathBuf,
}

impl Process {
    /// Starts `program` on one CPU and waits until it listens at `addr`. What it says goes to `log`.
    ///
    /// # Errors
    /// It cannot be started, ends, or does not listen in time.
    pub fn start(program: &Path, arguments: &[String], core: usize, addr: SocketAddr, log: &Path) -> Result<Process> {
        // From here on it is ended whatever happens.
        let mut process = Process::spawn(program, arguments, core, addr, log)?;
        let begun = Instant::now();
        while TcpStream::connect(addr).is_err() {
            process.ensure_lives()?;
            if begun.elapsed() > START {
                bail!("{} does not listen on {addr}: {}", program.display(), tail(log));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    /// The same of what feeds a server at `addr`, and does not listen itself.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(program: &Path, arguments: &[String], core: usize, addr: SocketAddr, log: &Path) -> Result<Process> {
        let file = std::fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        // It ends with what started it, also where that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "taskset", "-c", &core.to_string()]).arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().context("cannot start setpriv (package util-linux)")?;
        Ok(Process { child, addr, program: program.to_owned(), log: log.to_owned() })
    }

    /// # Errors
    /// It has ended; the error holds the last that it said.
    pub fn ensure_lives(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}: {}", self.program.display(), tail(&self.log));
        }
        Ok(())
    }

    /// Its process id. `setpriv` and `taskset` give way to the program, so it is the program's.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32)
            && rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok()
        {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(3) {
                if matches!(self.child.try_wait(), Ok(Some(_))) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address on loopback that nobody listens on now.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
