# ruff: noqa: E402
# Finds Python applications and reads their source. Nothing of theirs is imported or run.
# Run with -c and one argument: JSON with "apps" and "path", directories that come before sys.path.
# Prints one line of JSON: for each application its file and what is wrong with it, if anything.
import sys

# "" is the current directory, where the application may have a module named like one of Python's.
sys.path = [entry for entry in sys.path if entry]

import ast
import json
import types
import warnings

warnings.simplefilter("ignore")


class Finding(Exception):
    def __init__(self, kind, **facts):
        self.facts = dict(facts, kind=kind)


def inspect(app):
    file = None
    try:
        target = app["target"]
        if "file" in target:
            file, source = target["file"], read(target["file"])
            package = None
        else:
            spec = find(target["module"])
            file, package = spec.origin, spec.submodule_search_locations
            source = source_of(spec, target["module"])
        if source is not None:
            names = Names(parse(source, file))
            check(names, app, package and target["module"])
    except Finding as finding:
        return {"file": file, "finding": finding.facts}
    return {"file": file, "finding": None}


def read(file):
    try:
        with open(file, "rb") as opened:
            return opened.read()
    except OSError as error:
        raise Finding("unreadable", why=error.strerror.lower()) from None


def find(module):
    """The module's spec, found part by part: importlib.util.find_spec would import the parents."""
    path, done = None, ""
    for part in module.split("."):
        if done and path is None:
            raise Finding("not_package", part=done)
        if done:
            # Only there to be looked at: a namespace package asks for its parent by name.
            parent = types.ModuleType(done)
            parent.__path__ = path
            sys.modules.setdefault(done, parent)
        done = done + "." + part if done else part
        spec = next(filter(None, (finder.find_spec(done, path) for finder in sys.meta_path)), None)
        if spec is None:
            raise Finding("no_module", part=done)
        path = spec.submodule_search_locations
        if path is not None:
            path = list(path)
    if spec.origin is None and path is not None:
        raise Finding("namespace", directory=path[0] if path else "")
    return spec


def source_of(spec, module):
    """The source, or None when there is none to read, as in an extension module."""
    try:
        return spec.loader.get_source(module)
    except AttributeError:
        return None
    except (ImportError, OSError, SyntaxError, UnicodeError) as error:
        raise Finding("unreadable", why=str(error)) from None


def parse(source, file):
    try:
        tree = compile(source, file, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
        # Finds what the grammar alone does not, such as a `return` outside a function.
        compile(source, file, "exec", dont_inherit=True)
        return tree
    except SyntaxError as error:
        raise Finding("syntax", line=error.lineno or 0, why=error.msg) from None
    except ValueError as error:
        raise Finding("unreadable", why=str(error)) from None


class Names(ast.NodeVisitor):
    """The names that a module's own code may give a value to."""

    def __init__(self, tree):
        self.defined, self.imported, self.functions = [], [], {}
        self.unknown = False
        self.visit(tree)

    def visit_FunctionDef(self, node):
        self.defined.append(node.name)
        self.functions[node.name] = node
        if node.name == "__getattr__":
            self.unknown = True
        self.look_for_globals(node)

    def visit_ClassDef(self, node):
        self.defined.append(node.name)
        self.look_for_globals(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node):
        pass

    def visit_Import(self, node):
        self.imported += [alias.asname or alias.name.split(".")[0] for alias in node.names]

    def visit_ImportFrom(self, node):
        names = [alias.asname or alias.name for alias in node.names]
        self.unknown = self.unknown or "*" in names
        self.imported += names

    def visit_AnnAssign(self, node):
        if node.value is not None:
            self.generic_visit(node)

    def visit_Name(self, node):
        if isinstance(node.ctx, ast.Store):
            self.defined.append(node.id)
        elif node.id in ("globals", "vars", "locals", "exec", "eval", "setattr"):
            self.unknown = True

    def visit_MatchAs(self, node):
        self.defined += [node.name] if node.name else []
        self.generic_visit(node)

    def look_for_globals(self, node):
        for inner in ast.walk(node):
            if isinstance(inner, ast.Global):
                self.defined += inner.names


def check(names, app, package):
    name = app["callable"].split(".")[0]
    known = names.defined + names.imported
    if name not in known:
        if names.unknown or (package and is_submodule(package, name)):
            return
        own = [other for other in dict.fromkeys(names.defined) if not other.startswith("_")]
        others = [other for other in dict.fromkeys(names.imported) if other not in own]
        raise Finding("no_name", names=own + others)
    function = names.functions.get(name)
    if function is None or "." in app["callable"] or known.count(name) > 1:
        return
    if isinstance(function, ast.AsyncFunctionDef):
        raise Finding("is_async")
    if function.decorator_list:
        return
    spec = function.args
    takes = len(getattr(spec, "posonlyargs", [])) + len(spec.args)
    needs = takes - len(spec.defaults) + spec.kw_defaults.count(None)
    if app["call"] and needs > 0:
        raise Finding("factory_takes_arguments")
    if not app["call"] and takes == 0 and not spec.vararg:
        raise Finding("is_factory")


def is_submodule(package, name):
    try:
        find(package + "." + name)
    except Finding:
        return False
    return True


request = json.loads(sys.argv[1])
sys.path[:0] = request["path"]
print("\n" + json.dumps([inspect(app) for app in request["apps"]]))
