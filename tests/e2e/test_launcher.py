"""./run: packages, building, starting. With a small checkout whose program prints where it is and
what it got, and with stand-ins for Debian's tools that note how they were called."""
import os
import shutil
import subprocess
import threading

import pytest

MAKEFILE = """\
all: $(BUILD)/plumb
programs: all
test:
\t@echo TESTED in $(BUILD)
$(BUILD)/plumb: source.sh
\t@echo built >>built
\t@echo "building is quiet"
\t@sleep 0.2
\t@cp source.sh $@
\t@chmod +x $@
"""
PROGRAM = '#!/bin/sh\necho "in $(pwd): [$*]"\ncat\n'
STAND_INS = {
    "dpkg-query": 'shift 3; for p; do [ "$p" = "$LACKING" ] || echo "$p installed"; done',
    "apt-get": 'echo "apt-get $*" >>"$CALLS"; [ "$APT" != broken ] || { echo "E: no such thing"; exit 100; }',
    "id": 'echo "$WHO"',
    "sudo": '[ "$1" = -n ] && exit "$SUDO"; echo sudo >>"$CALLS"; exec "$@"',
}


class Checkout:
    def __init__(self, root, path):
        self.path = path / "a check out"
        self.path.mkdir()
        shutil.copy(root / "run", self.path / "run")
        (self.path / "Makefile").write_text(MAKEFILE)
        (self.path / "source.sh").write_text(PROGRAM)
        tools = path / "tools"
        tools.mkdir()
        for name, text in STAND_INS.items():
            (tools / name).write_text("#!/bin/sh\n" + text + "\n")
            (tools / name).chmod(0o755)
        self.calls = path / "calls"
        self.calls.write_text("")
        self.environment = {"PATH": f"{tools}:{os.environ['PATH']}", "CALLS": str(self.calls), "LACKING": "",
                            "WHO": "1000", "SUDO": "1", "APT": "", "HOME": str(path)}

    def run(self, *arguments, by=None, cwd=None, stdin="", **environment):
        return subprocess.run([str(by or self.path / "run"), *arguments], cwd=cwd or self.path, input=stdin,
                              text=True, capture_output=True, env={**self.environment, **environment})

    def times_built(self):
        return len((self.path / "built").read_text().splitlines())


@pytest.fixture
def checkout(root, tmp_path):
    return Checkout(root, tmp_path)


def test_builds_quietly_and_starts_in_the_callers_folder(checkout, tmp_path):
    result = checkout.run("chat", "--x", "two words", cwd=tmp_path, stdin="a question")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"in {tmp_path}: [chat --x two words]\na question"
    assert result.stderr == "run: building\n"


def test_second_start_neither_asks_for_packages_nor_builds(checkout):
    checkout.run("chat")
    result = checkout.run("chat", LACKING="gcc")
    assert result.returncode == 0
    assert result.stderr == ""
    assert checkout.times_built() == 1
    assert checkout.calls.read_text() == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_somebody_elses_build_is_used_as_it_is(checkout):
    checkout.run("chat")
    (checkout.path / "build").chmod(0o555)
    os.utime(checkout.path / "source.sh", (4e9, 4e9))
    result = checkout.run("chat", LACKING="gcc")
    (checkout.path / "build").chmod(0o755)
    assert result.returncode == 0
    assert result.stderr == ""


def test_changed_source_is_built_again(checkout):
    checkout.run("chat")
    (checkout.path / "source.sh").write_text("echo new\n")
    os.utime(checkout.path / "source.sh", (4e9, 4e9))
    assert checkout.run("chat").stdout == "new\n"


def test_works_through_a_symbolic_link(checkout, tmp_path):
    (tmp_path / "link").symlink_to(checkout.path / "run")
    (tmp_path / "again").symlink_to("link")
    assert "[help]" in checkout.run("help", by=tmp_path / "again", cwd="/").stdout


def test_starts_at_the_same_time_build_once(checkout):
    results = []
    threads = [threading.Thread(target=lambda: results.append(checkout.run("x"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [r.returncode for r in results] == [0] * 4
    assert checkout.times_built() == 1


def test_another_build_folder(checkout, tmp_path):
    result = checkout.run("x", cwd=tmp_path, PLUMB_BUILD="elsewhere")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "elsewhere/plumb").exists()
    assert not (checkout.path / "build").exists()
    for folder, cwd in (("two words", tmp_path), ("elsewhere", checkout.path)):
        refused = checkout.run("x", cwd=cwd, PLUMB_BUILD=folder)
        assert refused.returncode == 1
        assert "path with blanks" in refused.stderr


def test_root_installs_what_is_missing_and_says_so_first(checkout):
    result = checkout.run("chat", LACKING="libjansson-dev", WHO="0")
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines()[0] == "run: installing Debian packages: libjansson-dev"
    update, install = checkout.calls.read_text().splitlines()
    assert update.endswith("update")
    assert install.endswith("install -y --no-install-recommends libjansson-dev")


def test_a_user_with_sudo_installs_through_it(checkout):
    result = checkout.run("chat", LACKING="make", SUDO="0")
    assert result.returncode == 0, result.stderr
    assert checkout.calls.read_text().count("sudo") == 2


def test_without_root_and_sudo_the_packages_are_listed(checkout):
    result = checkout.run("chat", LACKING="make")
    assert result.returncode == 1
    assert result.stdout == ""
    assert "apt-get install --no-install-recommends make" in result.stderr
    assert checkout.calls.read_text() == ""


def test_failed_installing_shows_the_log_and_is_tried_again(checkout):
    result = checkout.run("chat", LACKING="make", WHO="0", APT="broken")
    assert result.returncode == 1
    assert "E: no such thing" in result.stderr
    assert checkout.run("chat", LACKING="make", WHO="0").returncode == 0


def test_failed_building_shows_the_log(checkout):
    (checkout.path / "Makefile").write_text("all:\n\t@echo this is why; exit 1\n")
    result = checkout.run("chat")
    assert result.returncode == 1
    assert "this is why" in result.stderr
    assert "building failed" in result.stderr


def test_run_test_asks_for_the_test_packages_too(checkout):
    checkout.run("chat")
    result = checkout.run("test", LACKING="libcmocka-dev", WHO="0")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "TESTED in build\n"
    assert "libcmocka-dev" in checkout.calls.read_text()
