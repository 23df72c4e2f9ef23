"""Sources that are not the demo's: several languages, audio only, video only, H.265, AC-3 and E-AC-3, each looped as a live origin.

The multivariant playlist and the MPD must list the right renditions; ffmpeg plays each; a browser plays it, or says why not where its decoders
are lacking. Public media are looked for beside the project and skipped, with words, where they are not there; none of them is kept in it.
"""

import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import clients
import cmaf
from clients import HERE, Verdict
from restart import QUIET, ended, free_address, listening

MEDIA = HERE.parent.parent.parent / "shared" / "media"
# Until a channel has what a player wants of it: seconds.
WARM_SECONDS = 10
# A loop's seam is a discontinuity, at which a player may wait for its new start: so less than for a stream without.
LOOP_PACE_MIN = 0.9
SECONDS_MAX = 10
SECONDS_MIN = 5
DESCRIBES_VIDEO = "public.accessibility.describes-video"


@dataclass(frozen=True)
class Source:
    """A TS file to loop, and what the relay must say of it."""

    id: str
    title: str
    # Below `MEDIA`, put one after another; or none for one that ffmpeg makes.
    files: tuple = ()
    # RFC 6381, up to the first dot.
    video: str = ""
    audio: str = ""
    # RFC 5646, as many as there are audio tracks; None where the source says none.
    languages: tuple = ()
    descriptions: int = 0
    # Debian's Chromium has decoders for it.
    in_browsers: bool = True
    # Off-air captures begin and end in mid-picture, so ffmpeg has words about each seam and decodes only half of the pictures.
    whole: bool = True
    # Its key pictures have leading pictures, which at a seam of the loop want what is not there: the decoder has words, and goes on.
    open_gop: bool = False


SOURCES = [
    Source("languages", "three languages", (), "avc1", "mp4a", ("en", "en", "de", "fr"), descriptions=1),
    Source("audio", "audio only", tuple(f"hls/hls-ts-aac/segment_{n}.ts" for n in range(8)), "", "mp4a", (None,)),
    Source("video", "video only", ("hls/hls-ts-b-frames/1.ts",), "avc1"),
    Source("h265", "H.265", tuple(f"hls/hls-ts-muxed-aac-h265/{n}.ts" for n in range(2)), "hvc1", "mp4a", (None,), in_browsers=False, open_gop=True),
    Source("ac3", "AC-3", ("ts/test-009.ts",), "avc1", "ac-3", ("fr",), in_browsers=False, whole=False),
    Source("eac3", "E-AC-3, four tracks", ("ts/test-089.000000.ts",), "avc1", "ec-3", ("fr", "qad", "qaa", "de"), 1, False, False),
]


def check(binaries, folder, seconds):
    """(name, verdict) for every source."""
    if not shutil.which("ffmpeg"):
        yield "public media", Verdict(skipped="ffmpeg is not installed")
        return
    there = []
    for source in SOURCES:
        if all((MEDIA / file).is_file() for file in source.files):
            there.append(source)
        else:
            yield f"{source.title}", Verdict(skipped=f"{source.files[0]} is not among the public media beside the project")
    with contextlib.ExitStack() as stack:
        base = start(stack, binaries, folder, there)
        for source in there:
            # Opens the session, so that all are warm at the same time.
            with contextlib.suppress(OSError):
                fetch(f"{base}/{source.id}/manifest.mpd")
        time.sleep(WARM_SECONDS)
        yield from play_all(base, there, max(SECONDS_MIN, min(seconds, SECONDS_MAX)))


def start(stack, binaries, folder, sources):
    """An origin per source and a relay of them all; the URL that channels are below."""
    admin, channels = free_address(), []
    for source in sources:
        file = folder / f"{source.id}.ts"
        make(source, file)
        origin, address = listening([binaries / "millrace", "origin", "--listen", "127.0.0.1:0", "--file", file])
        stack.callback(ended, origin)
        channels.append(f'[[channel]]\nid = "{source.id}"\norigins = ["http://{address}/channel/1.ts"]\n')
    config = folder / "media.toml"
    config.write_text(f'[server]\nlisten = ["{free_address()}"]\nadmin_listen = "{admin}"\n[transcode]\nauto = "off"\n' + "".join(channels))
    relay, address = listening([binaries / "millrace", "serve", "--config", config])
    stack.callback(ended, relay)
    return f"http://{address}/relay/channel"


def make(source, file):
    """The public files one after another, or a source with three languages whose first audio track describes the video."""
    if source.files:
        file.write_bytes(b"".join((MEDIA / name).read_bytes() for name in source.files))
        return
    command = ["ffmpeg", "-v", "error", "-y", "-t", "24", "-f", "lavfi", "-i", "testsrc2=s=640x360:r=25"]
    options = ["-map", "0:v", "-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-sc_threshold", "0", "-pix_fmt", "yuv420p"]
    for number, language in enumerate(("eng", "eng", "deu", "fra")):
        command += ["-t", "24", "-f", "lavfi", "-i", f"sine=f={300 + 200 * number}:r=48000"]
        options += ["-map", f"{number + 1}:a", f"-metadata:s:a:{number}", f"language={language}"]
    options += ["-c:a", "aac", "-b:a", "64k", "-ac", "2", "-disposition:a:0", "visual_impaired", "-f", "mpegts", str(file)]
    subprocess.run([*command, *options], check=True, **QUIET)


def fetch(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read()


def play_all(base, sources, seconds):
    formats = {"HLS-fMP4": ("index.m3u8?format=hls-fmp4", "hlsjs"), "DASH": ("manifest.mpd", "shaka")}
    for source in sources:
        for label, (name, _) in formats.items():
            yield f"{source.title}: renditions in {label}", renditions(source, f"{base}/{source.id}/{name}", label)
    # Listing is checked with nothing else on the machine; playing goes two and four at once.
    with ThreadPoolExecutor(4) as tools, ThreadPoolExecutor(2) as browsers:
        for pool, player in ((tools, by_ffmpeg), (browsers, by_browser)):
            running = []
            for source in sources:
                for label, (name, browser) in formats.items():
                    url = f"{base}/{source.id}/{name}"
                    program = "ffmpeg" if player is by_ffmpeg else browser
                    running.append((f"{source.title}: {program} on {label}", pool.submit(player, source, url, seconds, browser)))
            for name, verdict in running:
                yield name, verdict.result()


# ---- what is listed


def renditions(source, url, label):
    """Languages, codecs and the default against what the source has."""
    try:
        text = fetch(url).decode()
        found = hls_renditions(text) if label == "HLS-fMP4" else dash_renditions(text)
    except (OSError, ValueError, KeyError, TypeError, ElementTree.ParseError) as error:
        return Verdict(reasons=[f"{type(error).__name__}: {error}"])
    languages, codecs, defaults, descriptions = found
    verdict = Verdict({"languages": languages, "codecs": sorted(codecs)})
    wanted = {prefix for prefix in (source.video, source.audio) if prefix}
    verdict.require({codec.split(".")[0] for codec in codecs} == wanted, f"codecs {sorted(codecs)}, wanted {sorted(wanted)}")
    # A playlist for audio alone is a variant, which has no language attribute.
    if source.video or len(source.languages) > 1 or languages:
        known = sorted(map(str, source.languages))
        verdict.require(sorted(map(str, languages)) == known, f"languages {languages}, wanted {known}")
    verdict.require(descriptions == source.descriptions, f"{descriptions} audio descriptions, wanted {source.descriptions}")
    verdict.require(not languages or defaults and not any(defaults), f"defaults {defaults}, where True is an audio description")
    verdict.require(label == "DASH" or len(defaults) <= 1, f"{len(defaults)} defaults in one group")
    return verdict


def hls_renditions(text):
    """Languages of the audio renditions, codecs, for each default whether it is a description, and how many descriptions there are."""
    audio = [cmaf.attributes(line) for line in text.splitlines() if line.startswith("#EXT-X-MEDIA:TYPE=AUDIO")]
    variants = [cmaf.attributes(line) for line in text.splitlines() if line.startswith("#EXT-X-STREAM-INF:")]
    described = [DESCRIBES_VIDEO in one.get("CHARACTERISTICS", "") for one in audio]
    return (
        [one.get("LANGUAGE") for one in audio],
        {codec for one in variants for codec in one["CODECS"].split(",")},
        [is_one for one, is_one in zip(audio, described) if one.get("DEFAULT") == "YES"],
        sum(described),
    )


def dash_renditions(text):
    """The same of the newest Period of an MPD: its default is the audio set with the role `main`."""
    period = list(ElementTree.fromstring(text).iter(f"{cmaf.MPD}Period"))[-1]
    sets = list(period.iter(f"{cmaf.MPD}AdaptationSet"))
    audio = [one for one in sets if one.get("contentType") == "audio" or one.get("mimeType") == "audio/mp4"]
    roles = [{role.get("value") for role in one.iter(f"{cmaf.MPD}Role")} for one in audio]
    described = ["description" in one for one in roles]
    representations = [(one, inner) for one in sets for inner in one.iter(f"{cmaf.MPD}Representation")]
    return (
        [one.get("lang") for one in audio],
        {inner.get("codecs") or one.get("codecs") for one, inner in representations},
        [is_one for role, is_one in zip(roles, described) if "main" in role],
        sum(described),
    )


# ---- what plays


def by_ffmpeg(source, url, seconds, _):
    """It decodes every track that is listed, for as long as asked; of captures it only reads them, as it decodes half of their pictures."""
    command = ["ffmpeg", "-hide_banner", "-nostats", "-v", "error", "-t", str(seconds), "-i", url, "-map", "0:v?", "-map", "0:a?"]
    command += [] if source.whole else ["-c", "copy"]
    run = clients.finished([*command, "-f", "framecrc", "-"], seconds)
    if run is None:
        return Verdict(reasons=["it hung"])
    # framecrc: a line `#tb INDEX: ...` for each stream, then a line per frame that begins with the stream's index.
    lines = run.stdout.splitlines()
    streams = {line.split()[1].rstrip(":") for line in lines if line.startswith("#tb ")}
    frames = {stream: sum(line.startswith(f"{stream},") for line in lines) for stream in sorted(streams)}
    verdict = Verdict({"frames": json.dumps(list(frames.values())), "words": len(run.stderr.splitlines())})
    wanted = bool(source.video) + len(source.languages)
    verdict.require(len(streams) == wanted, f"{len(streams)} streams in place of {wanted}")
    # The slowest is AC-3 with 31 frames a second, or a picture rate of 24.
    verdict.require(all(count >= 20 * seconds * LOOP_PACE_MIN for count in frames.values()), f"too few frames in {seconds} s")
    verdict.require(run.returncode == 0, f"exit code {run.returncode}")
    if source.whole and not source.open_gop:
        verdict.reasons += run.stderr.splitlines()[:3]
    return verdict


def by_browser(source, url, seconds, player):
    """It plays, or where its decoders are lacking says so; a page that stays dark without a word is what must not be."""
    if reason := clients.browser_missing():
        return Verdict(skipped=reason)
    command = ["node", str(HERE / "play.mjs"), player, url, "--seconds", str(seconds)]
    run = clients.finished(command, seconds, env=clients.browser_environment())
    if run is None or run.returncode == 2:
        return Verdict(reasons=["the harness failed: " + (run.stderr.strip()[-300:] if run else "it hung")])
    seen = json.loads(run.stdout)
    verdict = Verdict({"played": seen["played"]})
    if not seen["played"]:
        words = seen["fatal"] + seen["errors"]
        verdict.figures["words"] = "; ".join(words)[:200]
        verdict.require(words, "it did not play and gave no reason")
        verdict.require(not source.in_browsers, "it did not play")
        return verdict
    pace = seen["advancedSeconds"] / seen["wallSeconds"]
    verdict.figures |= {"pace": f"{pace:.3f}", "ranges": len(seen["ranges"]), "freezes": seen["freezes"], "audio": seen["hasAudio"]}
    verdict.require(pace >= LOOP_PACE_MIN, f"currentTime advanced {pace:.3f} of wall time, below {LOOP_PACE_MIN}")
    verdict.require(seen["hasAudio"] == bool(source.audio) or not source.in_browsers, "audio is missing or invented")
    verdict.reasons += seen["fatal"] + seen["failures"]
    return verdict
