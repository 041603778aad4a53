# ruff: noqa: E402
# Finds Python applications and reads their source. Nothing of theirs is imported or run.
# Run with -c and one argument: JSON with "apps", "chdir", and "path", which comes before sys.path.
# Prints one line of JSON: for each application its file, its callable, and what is wrong with it.
# The package's _load.py and _places.py do all this in the same way, and import.
import sys

# "" is the current directory, where the application may have a module named like one of Python's.
sys.path = [entry for entry in sys.path if entry]

import ast
import contextlib
import importlib.machinery
import inspect
import json
import os
import sysconfig
import types
import warnings

warnings.simplefilter("ignore")

# What is loaded before any application is.
with contextlib.suppress(Exception):
    importlib.import_module("spile._mold")


class Finding(Exception):
    def __init__(self, kind, **facts):
        self.facts = dict(facts, kind=kind)


def look_at(app):
    file, name = None, app["callable"] and app["callable"]["name"]
    try:
        file, source, package = locate(app["target"])
        arguments = app["callable"] and app["callable"]["arguments"]
        call = None if arguments is None else literals(arguments)
        if source is not None:
            tree = parse(source, file)
            refuse_own_name(tree, file)
            names = Names(tree)
            if name is None:
                name = default(names, package)
            if name is not None:
                check(names, name, call, package)
    except Finding as finding:
        return {"file": file, "name": name, "finding": finding.facts}
    return {"file": file, "name": name, "finding": None}


def locate(target):
    """The file, its source if there is one to read, and the name of the package that it is."""
    if "file" in target:
        return target["file"], read(target["file"]), None
    module = target["module"]
    refuse_taken(module)
    try:
        spec = find(module)
    except Finding as finding:
        file = os.path.join(request["chdir"], module)
        is_absent = finding.facts["kind"] in ("no_module", "not_package")
        if not is_absent or not module.endswith(".wsgi") or not os.path.isfile(file):
            raise
        return file, read(file), None
    package = None if spec.submodule_search_locations is None else module
    return spec.origin, source_of(spec, module), package


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


def refuse_taken(module):
    """Says that Python has loaded a module of its own where the project has one, too."""
    top = module.partition(".")[0]
    ours = importlib.machinery.PathFinder.find_spec(top, request["path"])
    theirs = loaded.get(top)
    if theirs is None and top in sys.builtin_module_names:
        theirs = "built-in"
    if ours is None or theirs is None or not is_pythons(theirs):
        return
    if ours.origin is None and "." not in module:
        return  # A directory without an __init__.py cannot have been meant.
    place = ours.origin or next(iter(ours.submodule_search_locations))
    if os.path.realpath(place) == os.path.realpath(theirs):
        return
    is_file = ours.submodule_search_locations is None
    raise Finding("taken", top=top, place=place, own=theirs, is_file=is_file)


def is_pythons(origin):
    """Whether a module is the standard library's, or spile's."""
    if origin in ("built-in", "frozen"):
        return True
    directories = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    packages = ("site-packages", "dist-packages")
    if os.path.basename(os.path.dirname(origin)) == "spile":
        return True
    return any(origin.startswith(os.path.join(it, "")) for it in directories) and not any(
        os.sep + it + os.sep in origin for it in packages
    )


def refuse_own_name(tree, file):
    """Says that a file imports from what it hides, as a flask.py does that imports from flask."""
    directory, name = os.path.split(file)
    module = name[: -len(".py")]
    if not name.endswith(".py") or "." in module:
        return
    own = importlib.machinery.PathFinder.find_spec(module, [directory, *request["path"]])
    hidden = importlib.machinery.PathFinder.find_spec(module, sys.path[len(request["path"]) :])
    if own is None or own.origin != file or hidden is None or hidden.origin is None:
        return
    for node in tree.body:
        source = node.module if isinstance(node, ast.ImportFrom) and node.level == 0 else None
        if source is not None and source.split(".")[0] == module:
            raise Finding("hides", line=node.lineno, other=hidden.origin)


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


def literals(text):
    """A factory's arguments and keyword arguments."""
    try:
        call = ast.parse("f(" + text + ")", mode="eval").body
        arguments = [ast.literal_eval(argument) for argument in call.args]
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except Exception:
        raise Finding("not_literal") from None
    if None in named or len(named) < len(call.keywords):
        raise Finding("not_literal")
    return arguments, named


class Names(ast.NodeVisitor):
    """The names that a module's own code may give a value to."""

    def __init__(self, tree):
        self.defined, self.imported, self.functions = [], [], {}
        # Those that are surely not called: modules, classes, and what is assigned a constant.
        self.modules, self.classes, self.constants = [], [], []
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
        self.classes.append(node.name)
        self.look_for_globals(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node):
        pass

    def visit_Import(self, node):
        names = [alias.asname or alias.name.split(".")[0] for alias in node.names]
        self.imported += names
        self.modules += names

    def visit_ImportFrom(self, node):
        names = [alias.asname or alias.name for alias in node.names]
        self.unknown = self.unknown or "*" in names
        self.imported += names

    def visit_Assign(self, node):
        if isinstance(node.value, ast.Constant):
            self.constants += [it.id for it in node.targets if isinstance(it, ast.Name)]
        self.generic_visit(node)

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

    def known(self):
        return self.defined + self.imported

    def may_be_callable(self, name):
        """Whether one of the statements that give it a value may give it one to call."""
        given = self.known().count(name)
        return given > (self.modules + self.constants).count(name)

    def callables(self):
        """The names that could have been meant, the module's own first."""
        return [
            name
            for name in dict.fromkeys(self.known())
            if self.may_be_callable(name) and not name.startswith("_") and name not in self.classes
        ]


def default(names, package):
    """What is served when no callable is named; None if that cannot be known."""
    usual = [name for name in ("application", "app") if name in names.known()]
    found = next(filter(names.may_be_callable, usual), usual[0] if usual else None)
    if found is None and not names.unknown:
        raise Finding("no_default", names=names.callables())
    return found


def check(names, written, call, package):
    name = written.split(".")[0]
    if name not in names.known():
        if names.unknown or (package and is_submodule(package, name)):
            return
        raise Finding("no_name", names=names.callables())
    if "." not in written and not names.may_be_callable(name):
        raise Finding("not_callable", names=names.callables())
    function = names.functions.get(name)
    if function is None or "." in written or names.known().count(name) > 1:
        return
    if isinstance(function, ast.AsyncFunctionDef) and call is None:
        raise Finding("is_async")
    if function.decorator_list:
        return
    takes = signature(function.args)
    if call is not None:
        why = misfit(takes, *call)
        if why:
            raise Finding("arguments", why=why)
    elif misfit(takes, [{}, None], {}):
        raise Finding("is_factory" if not misfit(takes, [], {}) else "not_wsgi")


def misfit(takes, arguments, named):
    """Why a function cannot be called so; None if it can."""
    try:
        takes.bind(*arguments, **named)
    except TypeError as error:
        return str(error)
    return None


def signature(spec):
    """What a function takes, as inspect.signature has it of the function itself."""
    kinds = inspect.Parameter
    positional = [(it, kinds.POSITIONAL_ONLY) for it in getattr(spec, "posonlyargs", [])]
    positional += [(it, kinds.POSITIONAL_OR_KEYWORD) for it in spec.args]
    without = len(positional) - len(spec.defaults)
    found = [
        kinds(it.arg, kind, default=kinds.empty if index < without else None)
        for index, (it, kind) in enumerate(positional)
    ]
    if spec.vararg:
        found.append(kinds(spec.vararg.arg, kinds.VAR_POSITIONAL))
    found += [
        kinds(it.arg, kinds.KEYWORD_ONLY, default=kinds.empty if default is None else None)
        for it, default in zip(spec.kwonlyargs, spec.kw_defaults)
    ]
    if spec.kwarg:
        found.append(kinds(spec.kwarg.arg, kinds.VAR_KEYWORD))
    return inspect.Signature(found)


def is_submodule(package, name):
    try:
        find(package + "." + name)
    except Finding:
        return False
    return True


loaded = {
    name: getattr(module, "__file__", None) or getattr(module.__spec__, "origin", None)
    for name, module in list(sys.modules.items())
    if getattr(module, "__spec__", None)
}
request = json.loads(sys.argv[1])
sys.path[:0] = request["path"]
print("\n" + json.dumps([look_at(app) for app in request["apps"]]))
