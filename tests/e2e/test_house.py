"""The house rules hold, and the scripts that check them find what they should."""
import os
import shutil
import subprocess

import pytest


def check(root, tool, *arguments):
    return subprocess.run([str(root / "tools" / tool), *map(str, arguments)], cwd=root, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.parametrize("tool", ["check_layers.py", "check_banned.py", "check_lengths.py"])
def test_the_tree_keeps_the_rule(root, tool):
    result = check(root, tool)
    assert result.returncode == 0, result.stdout


def test_every_header_compiles_alone(root):
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    result = subprocess.run(["make", "--no-print-directory", "check-headers"], cwd=root, text=True,
                            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout


@pytest.fixture
def tree(tmp_path):
    """A small house that keeps every rule; returns a function that writes a file into it."""
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return tmp_path

    write("docs/ARCHITECTURE.md", "```arrows\nbase:\ntensor: base\nkernels: base tensor\n```\n")
    write("tools/lengths.txt", "")
    write("src/base/a.h", "int a;\n")
    write("src/base/a.c", '#include "base/a.h"\n')
    write("src/kernels/k.c", '#include "base/a.h"\n\nint k(void)\n{\n    return 0;\n}\n')
    return write


def test_a_small_clean_house_passes(root, tree):
    path = tree("src/tensor/t.c", '#include "base/a.h"\n')
    for tool in ("check_layers.py", "check_banned.py", "check_lengths.py"):
        assert check(root, tool, path).returncode == 0


@pytest.mark.parametrize("name, text, message", [
    ("src/base/b.c", '#include "tensor/t.h"\n', "base may include only"),
    ("src/base/b.c", '#include "base/a.c"\n', "includes the source"),
    ("src/tensor/a.c", "", "same file name as"),
    ("src/attic/b.c", "", "has no row"),
    ("src/base/b.h", "", "nobody includes this header"),
    ("src/base/a.c", '#include <stdio.h>\n#include "base/z.h"\n#include "base/a.h"\n', "own header first"),
    ("docs/ARCHITECTURE.md", "```arrows\nbase: kernels\nkernels: base\n```\n", "not in a row above"),
])
def test_layers_are_checked(root, tree, name, text, message):
    result = check(root, "check_layers.py", tree(name, text))
    assert result.returncode == 1
    assert message in result.stdout


@pytest.mark.parametrize("line", [
    "strcpy(a, b);", "x = sprintf (a, b);", "p = malloc(n);", 'printf("x");', "exit(1);", "abort();",
    "system(c);", "x = rand();",
])
def test_banned_calls_are_found(root, tree, line):
    result = check(root, "check_banned.py", tree("src/kernels/k.c", f"void f(void)\n{{\n    {line}\n}}\n"))
    assert result.returncode == 1
    assert "src/kernels/k.c:3" in result.stdout


@pytest.mark.parametrize("line", [
    "/* strcpy(a, b) */", 'puts_here("printf(x) \\" exit(1)");', "snprintf(a, n, b);", "mem_alloc(1, n);",
    "s->exit(1);", "s.printf(1);",
])
def test_words_that_only_look_banned_are_not(root, tree, line):
    result = check(root, "check_banned.py", tree("src/kernels/k.c", f"void f(void)\n{{\n    {line}\n}}\n"))
    assert result.returncode == 0, result.stdout


def long_function(lines):
    return "static int\nlong_one(int a,\n         int b)\n{\n" + "    a++;\n" * lines + "}\n"


def test_lengths_are_a_ratchet(root, tree):
    def result_with(lines, ratchet):
        tree("tools/lengths.txt", ratchet)
        return check(root, "check_lengths.py", tree("src/kernels/k.c", long_function(lines)))

    assert result_with(70, "").returncode == 0
    new = result_with(71, "")
    assert new.returncode == 1
    assert "src/kernels/k.c long_one: 71 lines" in new.stdout
    assert result_with(80, "src/kernels/k.c long_one 80\n").returncode == 0
    assert result_with(81, "src/kernels/k.c long_one 80\n").returncode == 1
    shorter = result_with(79, "src/kernels/k.c long_one 80\n")
    assert shorter.returncode == 1
    assert "--update" in shorter.stdout


def test_a_header_that_needs_another_is_found(root, tmp_path):
    (tmp_path / "bad.h").write_text("size_t n;\n")
    (tmp_path / "twice.h").write_text("struct s { int x; };\n")
    for name in ("bad.h", "twice.h"):
        assert check(root, "check_headers", tmp_path / name).returncode == 1


@pytest.mark.skipif(not shutil.which("dash"), reason="no dash")
@pytest.mark.parametrize("script", ["run", ".ci/run", "tools/run_tests", "tools/check_headers"])
def test_scripts_are_plain_sh(root, script):
    assert subprocess.run(["dash", "-n", str(root / script)]).returncode == 0
