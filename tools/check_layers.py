#!/usr/bin/env python3
"""Check every #include of src/ and include/ against the arrows of docs/ARCHITECTURE.md.

Also: a source includes its own header first, nothing includes a .c file, file names are unique in
the tree, and every header is included by somebody. Exit status 1 when something does not hold.

usage: tools/check_layers.py [CHECKOUT]
"""
import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def read_arrows(root):
    text = (root / "docs/ARCHITECTURE.md").read_text()
    table = re.search(r"```arrows\n(.*?)```", text, re.S)
    if not table:
        sys.exit("docs/ARCHITECTURE.md has no ```arrows block")
    rows = (line.split(":") for line in table[1].splitlines() if line.strip())
    return {name.strip(): allowed.split() for name, allowed in rows}


def check_table(arrows):
    """Rows stand in order, so a cycle is impossible."""
    seen = []
    for name, allowed in arrows.items():
        for other in allowed:
            if other not in seen:
                yield f"docs/ARCHITECTURE.md: {name} may include {other}, which is not in a row above"
        seen.append(name)


def check_file(root, path, arrows):
    src = root / "src"
    shown = path.relative_to(root)
    includes = INCLUDE.findall(path.read_text())
    folder = path.relative_to(src).parts[0] if src in path.parents else None
    if folder and folder not in arrows:
        yield f"{shown}: folder '{folder}' has no row in the arrows of docs/ARCHITECTURE.md"
        return
    for name in includes:
        if name.endswith(".c"):
            yield f"{shown}: includes the source '{name}'"
        target = name.split("/")[0]
        if folder and "/" in name and target != folder and target not in arrows[folder]:
            yield f"{shown}: includes '{name}', but {folder} may include only: {' '.join(arrows[folder])}"
    own = path.with_suffix(".h")
    if path.suffix == ".c" and own.exists() and includes[:1] != [str(own.relative_to(src))]:
        yield f"{shown}: must include its own header first"


def check_names(root, files):
    names = {}
    for path in files:
        if path.name in names:
            yield f"{path.relative_to(root)}: same file name as {names[path.name].relative_to(root)}"
        names[path.name] = path


def check_dead_headers(root, files):
    included = set()
    for path in [*files, *sorted(root.glob("tests/**/*.[ch]"))]:
        included.update(pathlib.PurePath(name).name for name in INCLUDE.findall(path.read_text()))
    for path in files:
        if path.suffix == ".h" and root / "src" in path.parents and path.name not in included:
            yield f"{path.relative_to(root)}: nobody includes this header"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    arrows = read_arrows(root)
    files = sorted([*root.glob("src/**/*.[ch]"), *root.glob("include/**/*.h")])
    problems = [*check_table(arrows), *check_names(root, files), *check_dead_headers(root, files)]
    for path in files:
        problems += check_file(root, path, arrows)
    for problem in problems:
        print(problem)
    if not problems:
        print(f"layers: {len(files)} files keep to the arrows")
    sys.exit(bool(problems))


main()
