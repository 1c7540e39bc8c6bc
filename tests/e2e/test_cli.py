"""The command line from outside: overview, help, errors, exit codes, JSON, pages of the manual."""
import json
import os
import pty
import re
import shutil
import subprocess

import pytest

from helpers import PLUMB, plumb


def commands():
    """Names as `plumb help` lists them."""
    text = plumb("help").stdout.split("Commands:\n")[1].split("\n\n")[0]
    return [re.match(r"  (\S+(?: \S+)?)(?:  |$)", line)[1] for line in text.splitlines() if re.match(r"  \S", line)]


def test_alone_it_prints_an_overview():
    p = plumb()
    assert p.returncode == 0 and p.stderr == ""
    assert len(p.stdout.splitlines()) <= 14
    assert "plumb help" in p.stdout


def test_every_command_is_explained_in_three_ways():
    names = commands()
    assert {"pull", "ls", "show", "rm", "doctor", "version", "help"} <= set(names)
    for name in names:
        words = name.split()
        texts = [plumb(*words, "--help"), plumb("help", *words), plumb(*words, "-h")]
        assert {p.returncode for p in texts} == {0}, name
        assert len({p.stdout for p in texts}) == 1 and texts[0].stdout.startswith("Usage: plumb " + name)
        assert texts[0].stderr == ""


def test_help_wraps_at_the_width_it_is_given():
    for columns in ("60", "90"):
        p = plumb("help", "pull", env={"COLUMNS": columns})
        assert max(map(len, p.stdout.splitlines())) < int(columns)


def test_rare_options_are_in_the_long_help_only():
    assert "--progress" not in plumb("pull", "--help").stdout
    assert "--progress" in plumb("pull", "--help-all").stdout
    assert "--progress" in plumb("help", "--all", "pull").stdout


def test_version():
    p = plumb("version")
    assert re.fullmatch(r"plumb \d+\.\d+\.\d+( \([0-9a-f]+\))?\n", p.stdout)
    assert plumb("--version").stdout == plumb("-V").stdout == p.stdout
    told = json.loads(plumb("version", "--json").stdout)
    assert p.stdout.split()[1] == told["version"] and told["compiler"]


@pytest.mark.parametrize("arguments, words", [
    (["vresion"], "did you mean 'version'"),
    (["frobnicate"], "plumb help"),
    (["version", "--jsno"], "did you mean '--json'"),
    (["version", "extra"], "'extra'"),
    (["show"], "MODEL"),
    (["show", "a", "b"], "'b'"),
    (["pull", "x", "--progress", "fancy"], "auto plain bar json none"),
    (["pull", "x", "--progress"], "needs a value"),
    (["download", "x"], "plumb pull"),
    (["help", "frobnicate"], "plumb help"),
    (["help", "version", "more"], "more"),
    (["completion", "tcsh"], "bash, zsh or fish"),
    (["pull", "-ngl", "9", "x"], "processor"),
])
def test_wrong_usage_is_one_line_and_exit_2(arguments, words):
    p = plumb(*arguments)
    assert p.returncode == 2 and p.stdout == ""
    assert p.stderr.startswith("plumb: ") and p.stderr.count("\n") == 1
    assert words in p.stderr


def test_wrong_usage_is_json_where_json_was_asked_for():
    p = plumb("ls", "--json", "--frob")
    error = json.loads(p.stdout)["error"]
    assert p.returncode == 2 and error["code"] == "usage" and "--frob" in error["message"]
    assert error["hint"] == "see 'plumb ls --help'"
    p = plumb("ls", "--frob", "--", "--json")
    assert p.stdout == ""


def test_messages_carry_no_control_characters():
    p = plumb("show", "a\x1b[31m\nb")
    assert p.returncode == 3 and "\x1b" not in p.stderr and p.stderr.count("\n") == 1


@pytest.mark.parametrize("value", ["avx9", "AVX2 "])
def test_an_unknown_processor_level_is_refused(value):
    p = plumb("ls", env={"PLUMB_CPU": value})
    assert p.returncode == 2 and "PLUMB_CPU" in p.stderr and "scalar" in p.stderr
    assert plumb("help", env={"PLUMB_CPU": value}).returncode == 0
    p = plumb("doctor", env={"PLUMB_CPU": value})
    assert p.returncode == 0 and "PLUMB_CPU" in p.stdout


def test_a_reader_that_goes_away_is_no_error():
    read_end, write_end = os.pipe()
    os.close(read_end)
    p = subprocess.run([PLUMB, "help"], stdout=write_end, stderr=subprocess.PIPE, text=True)
    os.close(write_end)
    assert (p.returncode, p.stderr) == (0, "")


def test_a_full_disk_is_an_error():
    with open("/dev/full", "w") as full:
        p = subprocess.run([PLUMB, "help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert p.returncode == 5 and "No space left" in p.stderr


def test_no_locale_changes_numbers():
    p = plumb("show", os.path.join("tests", "vectors", "llama", "plain-f32"), env={"LC_ALL": "de_DE.UTF-8"},
              cwd=os.path.dirname(os.path.dirname(PLUMB)))
    assert p.returncode in (0, 3)
    assert "(0.0 million)" in p.stdout or p.returncode == 3


# ---- the manual ----

@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    where = tmp_path_factory.mktemp("man")
    p = plumb("help", "--man", where)
    assert (p.returncode, p.stdout, p.stderr) == (0, "", "")
    return where


def test_there_is_a_page_for_every_command(pages):
    want = {"plumb.1"} | {f"plumb-{name.replace(' ', '-')}.1" for name in commands()}
    assert {p.name for p in pages.iterdir()} == want
    program = (pages / "plumb.1").read_text()
    for name in want - {"plumb.1"}:
        assert name[:-2].replace("-", "\\-") in program


@pytest.mark.skipif(not shutil.which("man"), reason="no man")
def test_the_pages_format_without_warnings(pages):
    for page in sorted(pages.iterdir()):
        p = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", str(page)], capture_output=True, text=True,
                           env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80", "MANROFFSEQ": ""})
        assert p.returncode == 0 and p.stderr == "", f"{page.name}: {p.stderr}"
        assert "NAME" in p.stdout and "SYNOPSIS" in p.stdout


@pytest.mark.skipif(not shutil.which("mandoc"), reason="no mandoc")
def test_the_pages_pass_mandoc(pages):
    p = subprocess.run(["mandoc", "-Tlint", "-Wwarning", *map(str, sorted(pages.iterdir()))], capture_output=True,
                       text=True)
    assert p.stdout == ""


# ---- completion ----

def complete(*words):
    script = ('source /dev/stdin; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _plumb; printf "%s\\n" "${COMPREPLY[@]}"')
    p = subprocess.run(["bash", "-c", script, "bash", *words], input=plumb("completion", "bash").stdout,
                       capture_output=True, text=True,
                       env={**os.environ, "PATH": os.path.dirname(PLUMB) + ":" + os.environ["PATH"]})
    assert p.stderr == ""
    return p.stdout.split()


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
@pytest.mark.parametrize("words, want", [
    (["plumb", "vers"], ["version"]),
    (["plumb", "version", "--j"], ["--json"]),
    (["plumb", "pull", "--progress", "p"], ["plain"]),
    (["plumb", "pull", "smol"], ["smollm2-135m-instruct"]),
])
def test_bash_completes(words, want, tmp_path):
    assert complete(*words) == want


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_syntax_of_their_shell(shell):
    script = plumb("completion", shell).stdout
    assert script
    if not shutil.which(shell):
        pytest.skip(f"no {shell}")
    assert subprocess.run([shell, "-n"], input=script, text=True).returncode == 0


# ---- show and doctor ----

def test_doctor_reports_the_machine(tmp_path):
    p = plumb("doctor", "--json", env={"PLUMB_MODELS": str(tmp_path / "none")})
    told = json.loads(p.stdout)
    assert p.returncode == 0
    assert told["levels"]["scalar"] is True and told["levels"][told["kernels"]] is True
    assert told["cores"] == len(os.sched_getaffinity(0)) or told["cores"] < os.cpu_count()
    with open("/proc/meminfo") as f:
        total = int(f.readline().split()[1]) * 1024
    assert 0 < told["memory_bytes"] <= total
    assert told["models"] == 0 and any("plumb pull" in a for a in told["advice"])
    free = os.statvfs(tmp_path)
    assert abs(told["store_free_bytes"] - free.f_bavail * free.f_frsize) < 1 << 30
    assert not (tmp_path / "none").exists()
    people = plumb("doctor").stdout
    for word in ("processor", "levels", "kernels", "memory", "huge pages", "store", "pip"):
        assert re.search(rf"^{word} ", people, re.M)


def test_doctor_names_what_pull_lacks():
    told = json.loads(plumb("doctor", "--json", env={"PLUMB_PYTHON": "/nonexistent"}).stdout)
    assert told["pip"] is None and any("python3-pip" in a for a in told["advice"])


def test_show_tells_what_the_file_says(root):
    model = root / "tests" / "vectors" / "llama" / "gguf-f16-llama3.gguf"
    told = json.loads(plumb("show", model, "--json").stdout)
    assert told["format"] == "GGUF" and told["architecture"] == "llama"
    assert told["layers"] == 2 and told["path"] == str(model)
    assert sum(told["tensors"].values()) > 10 and told["parameters"] > 10000
    config = root / "tests" / "vectors" / "llama" / "plain-f32"
    told = json.loads(plumb("show", config, "--json").stdout)
    want = json.loads((config / "config.json").read_text())
    assert told["context"] == want["max_position_embeddings"] and told["hidden"] == want["hidden_size"]
    assert told["vocabulary"] == want["vocab_size"] and told["layers"] == want["num_hidden_layers"]
    assert plumb("show", config, "--template").returncode == 3


def test_show_of_nothing_is_not_found():
    for name in ("nobody", "./nobody.gguf"):
        p = plumb("show", name)
        assert p.returncode == 3 and "nobody" in p.stderr


def test_show_of_rubbish_is_corrupt(tmp_path):
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00rubbish")
    assert plumb("show", path).returncode == 4


# ---- the terminal ----

def on_terminal(*arguments, **env):
    """Output of plumb with stdout and stderr on a pseudo terminal."""
    parent, child = pty.openpty()
    p = subprocess.Popen([PLUMB, *arguments], stdout=child, stderr=child, env={**os.environ, **env})
    os.close(child)
    data = b""
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:
            break
        if not piece:
            break
        data += piece
    os.close(parent)
    p.wait()
    return data


def test_no_escape_sequences_where_they_do_not_belong():
    for arguments in (["help"], ["ls", "--all"], ["doctor"], ["frob"]):
        assert b"\x1b" not in on_terminal(*arguments, NO_COLOR="1")
        p = plumb(*arguments)
        assert "\x1b" not in p.stdout + p.stderr
