#!/usr/bin/env python3
"""Find calls that the house does not allow. Each rule names the files that may use them.

usage: tools/check_banned.py [CHECKOUT]
"""
import pathlib
import re
import sys

# Calls, where they are allowed all the same (a prefix of the path), and what to use instead.
RULES = [
    ("strcpy strcat sprintf vsprintf strtok atoi atol atof gets sscanf alloca", [],
     "snprintf, mem_strdup, strtoll or a small parser"),
    ("malloc calloc realloc aligned_alloc posix_memalign strdup strndup", ["src/base/mem.c", "tests/"],
     "base/mem.h"),
    ("printf puts putchar vprintf perror", ["src/cli/", "tests/"], "an Error, or the caller's sink"),
    ("exit _exit abort quick_exit", ["src/cli/", "src/base/error.c", "tests/"], "a Status"),
    ("rand srand random drand48", ["tests/"], "base/rng.h"),
    ("system popen", ["tests/"], "fork and exec with an argument list"),
]

# Comments, strings and character constants: blanked, with line breaks kept.
NOT_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code_of(text):
    return NOT_CODE.sub(lambda m: "".join(c if c == "\n" else " " for c in m[0]), text)


def check_file(root, path):
    shown = str(path.relative_to(root))
    lines = code_of(path.read_text()).splitlines()
    for calls, allowed, instead in RULES:
        if any(shown.startswith(prefix) for prefix in allowed):
            continue
        call = re.compile(r"(?<![\w.>])(" + "|".join(calls.split()) + r")\s*\(")
        for number, line in enumerate(lines, 1):
            for found in call.finditer(line):
                yield f"{shown}:{number}: {found[1]} is not allowed here; use {instead}"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    files = sorted(p for top in ("src", "include", "tests") for p in root.glob(f"{top}/**/*.[ch]"))
    problems = [problem for path in files for problem in check_file(root, path)]
    for problem in problems:
        print(problem)
    if not problems:
        print(f"banned calls: none in {len(files)} files")
    sys.exit(bool(problems))


main()
