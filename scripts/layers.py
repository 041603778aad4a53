"""Fails where Rust files import each other in a circle, or a layer of src/ uses one it may not.

CONTRIBUTING.md draws the layers. What a file uses is read from its `use` lines and from the paths
in its code, unit tests left out. A name that a module only passes on counts as the file's that
defines it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: The library with the program, and the Python extension.
CRATES = [ROOT / "src", ROOT / "python/src"]

#: A path as it is written, or a module's from the crate's root: ("server", "tls", "relay").
Names = tuple[str, ...]


def main() -> int:
    library, extension = (imports_within(sources) for sources in CRATES)
    wrong = upward(library, layers())
    for graph in (library, extension):
        wrong += ["a circle: " + ", ".join(map(name, circle)) for circle in circles(graph)]
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        print("CONTRIBUTING.md, Layers, says what may use what", file=sys.stderr)
    return bool(wrong)


def imports_within(sources: Path) -> dict[Names, set[Names]]:
    """The modules of a crate that each of its modules uses."""
    paths = [path for path in sorted(sources.rglob("*.rs")) if not path.stem.endswith("tests")]
    crate = Crate({module_of(path, sources): File(path.read_text()) for path in paths})
    return {module: set(crate.imports(module)) - {module} for module in crate.files}


def upward(graph: dict[Names, set[Names]], allowed: dict[str, set[str]]) -> list[str]:
    """The imports that leave a layer for one that it may not use."""
    unknown = {module[0] for module in graph if module} - allowed.keys() - {"main"}
    wrong = [f"src/{layer}: CONTRIBUTING.md does not say what it may use" for layer in unknown]
    for module, others in graph.items():
        for other in sorted(others):
            # The root only says what the library has, and anybody may name it.
            if module and other and other[0] not in {module[0], *allowed.get(module[0], ())}:
                wrong.append(f"{name(module)} uses {name(other)}: it may not use {other[0]}")
    return wrong


def module_of(path: Path, sources: Path) -> Names:
    parts = path.relative_to(sources).with_suffix("").parts
    return parts[:-1] if parts[-1] in ("mod", "lib") else parts


def name(module: Names) -> str:
    return "::".join(("crate", *module))


def layers() -> dict[str, set[str]]:
    """What each layer may use, from the drawing in CONTRIBUTING.md."""
    drawing = (ROOT / "CONTRIBUTING.md").read_text().split("## Layers")[1].split("```")[1]
    found: dict[str, set[str]] = {}
    for line in drawing.splitlines():
        users, arrow, used = line.partition("->")
        for user in users.split(","):
            if user.strip():
                found[user.strip()] = {word.strip() for word in used.split(",")} if arrow else set()
    return found


class File:
    """What a file names: in its `use` declarations, and in the rest of its code."""

    DECLARED = re.compile(r"(\bpub\s+)?\buse\s+([^;<]+);")

    def __init__(self, text: str) -> None:
        text = without_tests(without_text(text))
        # Who may use something is no use of it.
        text = re.sub(r"\bpub\([^)]*\)", "pub", text)
        # Seen from a module within the file, `super` is the file.
        inline = re.compile(r"^(?:pub\S* )?mod \w+ \{.*?^\}", re.DOTALL | re.MULTILINE)
        text = inline.sub(lambda it: re.sub(r"(?<!::)\bsuper::", "self::", it[0]), text)
        #: What each name stands for that a `use` declaration brings in.
        self.brought: dict[str, Names] = {}
        #: The paths of declarations that do not only pass a name on.
        self.used: list[Names] = []
        for is_public, tree in self.DECLARED.findall(text):
            for path, alias in spread(re.sub(r"\s+", " ", tree)):
                self.brought[alias] = path
                if not is_public:
                    self.used.append(path)
        self.code = self.DECLARED.sub("", text)


def without_text(code: str) -> str:
    """The code without comments, and with all text empty."""
    comment = r"//[^\n]*|/\*.*?\*/"
    text = r'\bb?r(#*)".*?"\1|\bb?"(?:\\.|[^"\\])*"|"(?:\\.|[^"\\])*"'
    letter = r"'(?:\\(?:u\{\w+\}|x..|.)|[^'\\])'"
    either = re.compile(f"(?P<comment>{comment})|{text}|{letter}".replace(r"\1", r"\2"), re.DOTALL)
    return either.sub(lambda found: " " if found["comment"] else '""', code)


def without_tests(code: str) -> str:
    """The code without the items that only tests have."""
    attribute = re.compile(r"#\[cfg\((?:all\()?test\b[^\]]*\]")
    while found := attribute.search(code):
        code = code[: found.start()] + code[end_of_item(code, found.end()) :]
    return code


def end_of_item(code: str, at: int) -> int:
    """Where an item ends: at a semicolon, or with the braces of its body."""
    depth = 0
    while at < len(code):
        letter = code[at]
        depth += (letter in "([{") - (letter in ")]}")
        at += 1
        if depth == 0 and letter in ";}":
            break
    return at


def spread(tree: str) -> Iterator[tuple[Names, str]]:
    """The paths of a `use` declaration, and the name that the file knows each by."""
    head, brace, rest = tree.partition("{")
    prefix = tuple(part.strip() for part in head.split("::") if part.strip())
    if not brace:
        *path, last = prefix
        last, _, alias = last.partition(" as ")
        yield (*path, last), alias or last
        return
    depth, item = 0, ""
    for letter in rest[: rest.rindex("}")] + ",":
        depth += (letter == "{") - (letter == "}")
        if letter != "," or depth > 0:
            item += letter
            continue
        for path, alias in spread(item.strip()) if item.strip() else ():
            if path == ("self",):
                yield prefix, prefix[-1] if alias == "self" else alias
            else:
                yield (*prefix, *path), alias
        item = ""


class Crate:
    """The files of a crate by their modules, and which of them a name leads to."""

    def __init__(self, files: dict[Names, File]) -> None:
        self.files = files

    def imports(self, module: Names) -> Iterator[Names]:
        """The modules whose names a module uses itself."""
        file = self.files[module]
        paths = [*file.used]
        paths += [tuple(path.split("::")) for path in re.findall(r"\b\w+(?:::\w+)+", file.code)]
        words = set(re.findall(r"\w+", file.code))
        paths += [path for alias, path in file.brought.items() if alias in words]
        for path in paths:
            found = self.resolve(module, path)
            if found is not None:
                yield found

    def resolve(self, module: Names, path: Names, depth: int = 0) -> Names | None:
        """The module that defines what a path means in a module; `None` for another crate's."""
        if depth > 9:
            return None
        first, *_ = path
        base, rest = module, path
        if first == "crate":
            base, rest = (), path[1:]
        elif first in ("self", "super"):
            while rest and rest[0] in ("self", "super"):
                base, rest = (base[:-1] if rest[0] == "super" else base), rest[1:]
        elif (*module, first) not in self.files and first not in self.files[module].brought:
            return None
        while rest and (*base, rest[0]) in self.files:
            base, rest = (*base, rest[0]), rest[1:]
        if base not in self.files:
            return None
        brought = self.files[base].brought.get(rest[0]) if rest else None
        if brought is not None and (base, brought) != (module, path):
            found = self.resolve(base, (*brought, *rest[1:]), depth + 1)
            return found if found is not None or first not in ("crate", "self", "super") else base
        return base


def circles(graph: dict[Names, set[Names]]) -> list[list[Names]]:
    """The sets of modules that reach each other (Tarjan's algorithm)."""
    found: list[list[Names]] = []
    numbers: dict[Names, int] = {}
    lowest: dict[Names, int] = {}
    stack: list[Names] = []

    def visit(module: Names) -> None:
        numbers[module] = lowest[module] = len(numbers)
        stack.append(module)
        for other in sorted(graph.get(module, ())):
            if other not in numbers:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], numbers[other])
        if lowest[module] == numbers[module]:
            at = stack.index(module)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for module in sorted(graph):
        if module not in numbers:
            visit(module)
    return found


if __name__ == "__main__":
    sys.exit(main())
