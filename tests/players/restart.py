"""What a page must live through: the relay killed in mid-play and started again, and a session that idled out and came back.

hls.js on HLS-fMP4 and shaka on DASH play through either at the same time, and must go on in the same page. One Verdict each, with how long each
step took. The origin is a process of its own, so that only the relay dies; it comes back at the same address, as under a supervisor.
"""

import contextlib
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

# How long the players play before the outage, and must play after it: seconds.
BEFORE_SECONDS = 15
AFTER_SECONDS = 15
# From the start of the new process to its first answer: seconds.
SERVING_SECONDS_MAX = 2
# A player gets this long to go on; then it is taken for stuck: seconds.
RECOVERY_SECONDS_MAX = 30
# Longest time that the picture may stand still: two GOPs until there is a playlist, polls, and a machine that is busy: seconds.
STILL_SECONDS_MAX = 10
# Until a session of `IDLE` is gone once nobody asks any more: three target durations for the viewer and the session's own time, seconds.
GONE_SECONDS_MAX = 30
# Reports of a busy browser come late and then in a bunch: a step of its clock may be this much more than that of ours, seconds.
STEP_SLACK_SECONDS = 0.3

# Player and what it plays.
PLAYERS = {"hlsjs": "index.m3u8?format=hls-fmp4", "shaka": "manifest.mpd"}
CONFIG = """
[server]
listen = ["{listen}"]
admin_listen = "{admin}"
{more}
[[channel]]
id = "one"
origins = ["http://{origin}/channel/1.ts"]
"""
IDLE = """
[idle]
session_ms = 3000
variant_ms = 3000
segment_viewer_ms = 3000
"""


def through_restart(binaries, folder):
    """The players play, the relay is killed and started again, the players go on."""
    names = {player: f"{player} through kill -9 and restart" for player in PLAYERS}
    if reason := clients.browser_missing():
        yield from ((name, Verdict(skipped=reason)) for name in names.values())
        return
    with contextlib.ExitStack() as stack:
        relay = stack.enter_context(Relay(binaries, folder / "restart.toml"))
        players = {player: stack.enter_context(Player(player, relay.channel(name))) for player, name in PLAYERS.items()}
        late = [player for player, one in players.items() if not one.plays(BEFORE_SECONDS, BEFORE_SECONDS + clients.GRACE_SECONDS)]
        killed = relay.kill_and_start()
        serving = until_ok(f"{relay.base}/readyz", killed + RECOVERY_SECONDS_MAX)
        playlist = until_ok(relay.channel(PLAYERS["hlsjs"]), killed + RECOVERY_SECONDS_MAX)
        for player, one in players.items():
            verdict = judge(one, killed, {"serving": serving, "playlist": playlist})
            verdict.require(player not in late, "it did not play before the kill")
            verdict.require(serving and serving - killed <= SERVING_SECONDS_MAX, f"not serving within {SERVING_SECONDS_MAX} s")
            yield names[player], verdict


def through_idleness(binaries, folder):
    """The players lose their network until the channel's session is gone; when it is back they go on, in a new session."""
    names = {player: f"{player} through a session that idled out" for player in PLAYERS}
    if reason := clients.browser_missing():
        yield from ((name, Verdict(skipped=reason)) for name in names.values())
        return
    with contextlib.ExitStack() as stack:
        relay = stack.enter_context(Relay(binaries, folder / "idle.toml", IDLE))
        players = {p: stack.enter_context(Player(p, relay.channel(name), "--recovers")) for p, name in PLAYERS.items()}
        late = [player for player, one in players.items() if not one.plays(BEFORE_SECONDS / 2, BEFORE_SECONDS + clients.GRACE_SECONDS)]
        before = relay.epoch()
        for one in players.values():
            one.say("offline")
        offline = time.monotonic()
        while relay.epoch() is not None and time.monotonic() < offline + GONE_SECONDS_MAX:
            time.sleep(0.2)
        gone = time.monotonic() if relay.epoch() is None else None
        for one in players.values():
            one.say("online")
        online = time.monotonic()
        for player, one in players.items():
            verdict = judge(one, online, {})
            after = relay.epoch()
            verdict.figures |= {"gone": seconds(gone and gone - offline), "epochs": f"{before}->{after}"}
            verdict.require(player not in late, "it did not play before")
            verdict.require(gone, f"the session was still there {GONE_SECONDS_MAX} s after the last request")
            verdict.require(before and after and after > before, f"epoch {before} before, {after} after")
            yield names[player], verdict


class Relay:
    """An origin and a relay of its one channel; ended on the way out."""

    def __init__(self, binaries, config, more=""):
        self.origin, address = listening([binaries / "millrace", "origin", "--listen", "127.0.0.1:0"])
        self.admin = free_address()
        config.write_text(CONFIG.format(listen=free_address(), admin=self.admin, origin=address, more=more))
        self.command = [binaries / "millrace", "serve", "--config", config]
        try:
            self.process, address = listening(self.command)
        except SystemExit:
            ended(self.origin)
            raise
        self.base = f"http://{address}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        ended(self.process)
        ended(self.origin)

    def channel(self, name):
        return f"{self.base}/relay/channel/one/{name}"

    def kill_and_start(self):
        """The instant of the kill."""
        self.process.kill()
        self.process.wait()
        killed = time.monotonic()
        self.process = subprocess.Popen(self.command, **QUIET)
        return killed

    def epoch(self):
        """The epoch of the channel's session, or None while there is none."""
        with urllib.request.urlopen(f"http://{self.admin}/api/v1/sessions", timeout=10) as answer:
            rows = json.load(answer)["sessions"]
        return next((row["epoch"] for row in rows if row["channel"] == "one"), None)


def ended(process):
    """By SIGTERM, on which the players' harness takes its browser along."""
    process.terminate()
    process.wait()


QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def judge(player, since, steps):
    """Waits for the player to go on, and holds what it did since that instant against what is promised."""
    went_on = player.plays(AFTER_SECONDS, within=AFTER_SECONDS + RECOVERY_SECONDS_MAX)
    verdict, after = Verdict(), player.since(since)
    longest, stalls = pauses(after) if after else (0, 0)
    verdict.figures = {name: seconds(instant and instant - since) for name, instant in steps.items()}
    verdict.figures |= {
        "stalls": stalls,
        "longest": seconds(longest),
        "skipped": seconds(after[-1]["position"] - after[0]["position"] - played(after) if after else None),
        "played-after": seconds(played(after)),
    }
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
    """A player in a page that reports its figures all the while; ended on the way out."""

    def __init__(self, player, url, *options):
        self.samples, self.changed = [], threading.Condition()
        command = ["node", str(clients.HERE / "play.mjs"), player, url, "--seconds", "180", "--trace", *options]
        pipes = {"stdout": subprocess.PIPE, "stdin": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, **pipes, text=True, env=clients.browser_environment())
        threading.Thread(target=self.read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        ended(self.process)

    def say(self, line):
        """A command to the harness: `offline` or `online`."""
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

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
