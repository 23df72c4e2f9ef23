"""kill -9 of the relay in mid-play: hls.js goes on in the same page. One Verdict, with how long each step took.

The origin is a process of its own, so that only the relay dies; the relay comes back at the same address, as under a supervisor.
"""

import json
import re
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import clients
from clients import Verdict

# How long the player plays before the kill, and must play after it: seconds.
BEFORE_SECONDS = 20
AFTER_SECONDS = 15
# From the start of the new process to its first answer: seconds.
SERVING_SECONDS_MAX = 2
# A player gets this long to go on; then it is taken for stuck: seconds.
RECOVERY_SECONDS_MAX = 30
# Longest time that the picture may stand still: two GOPs until there is a playlist, polls, and a machine that is busy: seconds.
STILL_SECONDS_MAX = 10
# Reports of a busy browser come late and then in a bunch: a step of its clock may be this much more than that of ours, seconds.
STEP_SLACK_SECONDS = 0.3


def hls_through_restart(binaries, folder):
    """hls.js plays, the relay is killed and started again, hls.js goes on."""
    if reason := clients.browser_missing():
        return Verdict(skipped=reason)
    origin = listening([binaries / "millrace", "origin", "--listen", "127.0.0.1:0"])
    processes = [origin[0]]
    try:
        config = folder / "restart.toml"
        config.write_text(CONFIG.format(listen=free_address(), admin=free_address(), origin=origin[1]))
        relay, address = listening([binaries / "millrace", "serve", "--config", config])
        processes.append(relay)
        player = Player(f"http://{address}/relay/channel/one/index.m3u8")
        processes.append(player.process)
        if not player.plays(BEFORE_SECONDS, within=BEFORE_SECONDS + clients.GRACE_SECONDS):
            return Verdict(reasons=["it did not play before the kill", *player.errors()])
        relay.kill()
        relay.wait()
        killed = time.monotonic()
        processes.append(subprocess.Popen([binaries / "millrace", "serve", "--config", config], **QUIET))
        return judge(player, address, killed)
    finally:
        # By SIGTERM, on which the player's harness takes its browser along.
        for process in reversed(processes):
            process.terminate()
            process.wait()


CONFIG = """
[server]
listen = ["{listen}"]
admin_listen = "{admin}"
[[channel]]
id = "one"
origins = ["http://{origin}/channel/1.ts"]
"""
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def judge(player, address, killed):
    """Waits for the relay and for the player, and holds both against what is promised."""
    verdict = Verdict()
    serving = until_ok(f"http://{address}/readyz", killed + RECOVERY_SECONDS_MAX)
    playlist = until_ok(f"http://{address}/relay/channel/one/index.m3u8", killed + RECOVERY_SECONDS_MAX)
    went_on = player.plays(AFTER_SECONDS, within=AFTER_SECONDS + RECOVERY_SECONDS_MAX)
    after = player.since(killed)
    longest, stalls = pauses(after) if after else (0, 0)
    verdict.figures = {
        "serving": seconds(serving and serving - killed),
        "playlist": seconds(playlist and playlist - killed),
        "stalls": stalls,
        "longest": seconds(longest),
        "skipped": seconds(after[-1]["position"] - after[0]["position"] - played(after) if after else None),
        "played-after": seconds(played(after)),
    }
    verdict.require(serving and serving - killed <= SERVING_SECONDS_MAX, f"not serving within {SERVING_SECONDS_MAX} s")
    verdict.require(went_on, f"it did not play {AFTER_SECONDS} s more")
    verdict.require(longest <= STILL_SECONDS_MAX, f"the picture stood still for {longest:.1f} s")
    verdict.reasons += player.errors()
    return verdict


def seconds(value):
    return "-" if value is None else f"{value:.2f}s"


def played(samples):
    """How much of the video's time went by while it played: a seek over what is lost does not count."""
    steps = [(b["position"] - a["position"], b["at"] - a["at"]) for a, b in zip(samples, samples[1:])]
    return sum(step for step, wall in steps if 0 <= step <= wall + STEP_SLACK_SECONDS)


def pauses(samples):
    """Longest time that the video's clock stood still, seconds, and how many times it did for half a second or more."""
    longest = stalls = 0
    since, position = samples[0]["at"], samples[0]["position"]
    for sample in [*samples[1:], None]:
        if sample and sample["position"] == position:
            continue
        still = (sample or samples[-1])["at"] - since
        longest, stalls = max(longest, still), stalls + (still >= 0.5)
        if sample:
            since, position = sample["at"], sample["position"]
    return longest, stalls


class Player:
    """hls.js in a page that reports its figures all the while."""

    def __init__(self, url):
        self.samples, self.changed = [], threading.Condition()
        command = ["node", str(clients.HERE / "play.mjs"), "hlsjs", url, "--seconds", "120", "--trace"]
        environment = clients.browser_environment()
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.samples.append({**json.loads(line), "at": time.monotonic()})
                self.changed.notify_all()

    def plays(self, by, within):
        """Whether it plays that many seconds from now on, in that many seconds."""
        with self.changed:
            begin = len(self.samples)
            return self.changed.wait_for(lambda: played(self.samples[begin:]) >= by, within)

    def since(self, instant):
        with self.changed:
            return [sample for sample in self.samples if sample["at"] >= instant]

    def errors(self):
        """What ended it. Failed requests and non-fatal errors are what an outage is."""
        with self.changed:
            return list(self.samples[-1]["fatal"]) if self.samples else ["the harness reported nothing"]


def listening(command):
    """The started process and its address, once it said LISTENING."""
    process = subprocess.Popen(command, **{**QUIET, "stdout": subprocess.PIPE}, text=True)
    for line in process.stdout:
        if found := re.match(r"LISTENING (\S+)", line):
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return process, found[1]
    raise SystemExit(f"{command[1]} ended with code {process.wait()} before it listened")


def free_address():
    """The relay must come back at the same port, so it cannot have the system choose one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def until_ok(url, deadline):
    """The instant of the first 200, or None when there is none before the deadline."""
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                if answer.status == 200:
                    return time.monotonic()
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    return None
