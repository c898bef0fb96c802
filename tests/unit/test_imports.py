"""Imports go one way: packages of baikalctl have an order, and neither its modules nor those of tasks have a cycle."""

from __future__ import annotations

import ast
import functools
from typing import TYPE_CHECKING

from tests.unit.samples import HOME

if TYPE_CHECKING:
    from pathlib import Path

ORDER = (
    {"paths", "errors", "output"},
    {"settings", "host"},
    {"database", "desired"},
    {"rendering", "baikal"},
    {"tls", "mail"},
    {"changes"},
    {"backup"},
    {"commands", "checks"},
    {"container"},
    {"argument_parser"},
    {"arguments"},
    {"cli"},
    {"__main__"},
)
"""The packages and top modules of baikalctl, lowest first. Each imports only from those below it, and from itself."""
LEVELS = 11
"""The longest allowed chain of packages that import each other."""


@functools.cache
def imports(folder: str) -> dict[str, set[str]]:
    """Return which modules each module below ``folder`` imports, in functions and for types as well."""
    modules = {name(path): path for path in (HOME / folder).rglob("*.py")}
    return {
        module: {
            target if target in modules else source
            for source, target in imported(path)
            if source.partition(".")[0] == folder
        }
        - {module}
        for module, path in modules.items()
    }


def name(path: Path) -> str:
    """Return the name of the module in a file of this checkout."""
    return ".".join(path.relative_to(HOME).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> list[tuple[str, str]]:
    """Return each import of the file as the module, and as a module that the name may be."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    assert all(node.level == 0 for node in froms), f"{path} has a relative import"
    from_imports = [(node.module or "", f"{node.module}.{alias.name}") for node in froms for alias in node.names]
    plain = (alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names)
    return from_imports + [(module, module) for module in plain]


def package(module: str) -> str:
    """Return the package or top module of a module of baikalctl."""
    return module.split(".")[1] if "." in module else module


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return a cycle in the ``graph``; nothing if there is none."""
    done: set[str] = set()

    def search(node: str, path_here: list[str]) -> list[str]:
        if node in path_here:
            return [*path_here[path_here.index(node) :], node]
        if node not in done:
            for target in sorted(graph.get(node, ())):
                if path := search(target, [*path_here, node]):
                    return path
            done.add(node)
        return []

    return next((path for node in sorted(graph) if (path := search(node, []))), [])


def test_each_package_imports_only_from_lower_ones() -> None:
    """Also in functions and for types. CONTRIBUTING.md lists the packages in this order."""
    ranks = {each: rank for rank, names in enumerate(ORDER) for each in names}
    modules = imports("baikalctl")
    assert {package(module) for module in modules if "." in module} == set(ranks)
    upward = [
        f"{module} imports {target}"
        for module, targets in modules.items()
        for target in targets
        if "." in module and package(module) != package(target) and ranks[package(target)] >= ranks[package(module)]
    ]
    assert upward == []


def test_no_module_imports_itself_through_others() -> None:
    """Not even in a function or for types alone."""
    assert cycle(imports("baikalctl")) == []
    assert cycle(imports("tasks")) == []


def test_chains_of_imports_between_packages_are_short() -> None:
    """At most as long as ``LEVELS``."""
    graph: dict[str, set[str]] = {}
    for module, targets in imports("baikalctl").items():
        graph.setdefault(package(module), set()).update(package(target) for target in targets)

    @functools.cache
    def level(node: str) -> int:
        return 1 + max((level(target) for target in graph.get(node, set()) - {node}), default=0)

    assert max(map(level, graph)) <= LEVELS


def test_uploaded_program_imports_no_module_of_baikalctl() -> None:
    """It runs on a new host, where baikalctl is not installed yet."""
    assert imports("baikalctl")["baikalctl.host.install"] == set()


def test_cycle_is_found() -> None:
    """A cycle of three modules is found. Two paths to the same module are no cycle."""
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert cycle({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}}) == []


DOCUMENTED = {
    "pyinfra": {"local", "logger"},
    "pyinfra.api.command": {"FunctionCommand", "QuoteString", "StringCommand"},
    "pyinfra.api.exceptions": {"DeployError", "PyinfraError"},
    "pyinfra.api.facts": {"FactBase"},
    "pyinfra.api.host": {"Host"},
    "pyinfra.api.operation": {"OperationMeta", "operation"},
    "pyinfra.api.output": {"format_text"},
    "pyinfra.api.state": {"BaseStateCallback", "State"},
    "pyinfra.context": {"host"},
}
"""What pyinfra documents for deploys, operations, facts and callbacks."""


def test_only_one_package_uses_pyinfras_internals() -> None:
    """A new version of pyinfra must be compared with this package only."""
    others = [
        f"{path.relative_to(HOME)}: {target}"
        for path in (HOME / "tasks").rglob("*.py")
        if path.parent.name != "pyinfra_internals"
        for source, target in imported(path)
        if source.partition(".")[0] == "pyinfra" and target.rpartition(".")[2] not in DOCUMENTED.get(source, set())
    ]
    assert others == []


def test_tests_of_the_program_load_no_pyinfra() -> None:
    """`make unit` runs them in separate processes: they fork thousands of times, and pyinfra makes that slow."""
    makefile = (HOME / "Makefile").read_text(encoding="utf-8")
    folders = makefile.partition("PROGRAM_TESTS := $(addprefix tests/unit/,")[2].partition(")")[0].split()
    assert "changes" in folders
    loading = {"pyinfra", "tasks", "tests.unit.fake"}
    assert [
        f"{path.relative_to(HOME)}: {source}"
        for folder in folders
        for path in (HOME / "tests/unit" / folder).rglob("*.py")
        for source, _ in imported(path)
        if source.partition(".")[0] in loading or source in loading
    ] == []
