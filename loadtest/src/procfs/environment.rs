//! What a run's figures depend on besides the programs: kernel, processor, memory, settings.
//!
//! What it deliberately does not do: judge whether two environments may be compared; `report::compare` does.

use super::parse;
use crate::result::Environment;
use std::collections::BTreeMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Settings that move the figures of a server of many long connections, by sysctl name.
const SYSCTLS: [&str; 13] = [
    "fs.nr_open",
    "net.core.default_qdisc",
    "net.core.netdev_max_backlog",
    "net.core.rmem_max",
    "net.core.somaxconn",
    "net.core.wmem_max",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_notsent_lowat",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// Describes this machine now, and the server by its pid. A setting that this kernel does not have is left out.
pub fn environment(server_pid: Option<u32>) -> Environment {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (model, cpus) = parse::processors(&text("/proc/cpuinfo"));
    let command = |pid| fs::read(format!("/proc/{pid}/cmdline")).ok().map(|bytes| parse::command_line(&bytes));
    Environment {
        begun: rfc3339(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())),
        kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
        cpu_model: model.unwrap_or_else(|| "unknown".to_owned()),
        cpus,
        memory_bytes: parse::memory_total(&text("/proc/meminfo")).unwrap_or(0),
        sysctls: sysctls(),
        harness_version: env!("CARGO_PKG_VERSION").to_owned(),
        server_command: server_pid.and_then(command),
    }
}

fn sysctls() -> BTreeMap<String, String> {
    let read = |name: &&str| {
        let value = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
        // Triples are separated by tabs.
        Some(((*name).to_owned(), value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")))
    };
    SYSCTLS.iter().filter_map(read).collect()
}

/// Seconds since 1970 as `2026-01-31T12:34:56Z`.
fn rfc3339(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Days are counted from 1 March of year 0, so that the leap day is a year's last; an era is 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_about_leap_days() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(951_868_800), "2000-03-01T00:00:00Z");
        assert_eq!(rfc3339(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(rfc3339(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn this_machine_has_an_environment() {
        let here = environment(Some(std::process::id()));
        assert!(here.cpus > 0 && here.memory_bytes > 0 && !here.kernel.is_empty());
        assert!(here.sysctls.contains_key("net.core.somaxconn"));
        assert!(here.server_command.is_some_and(|command| !command.is_empty() && !command.contains('\0')));
        assert_eq!(environment(None).server_command, None);
    }
}
