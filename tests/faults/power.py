"""A loss of power, simulated: what a command wrote is replayed up to a moment, and what it had not synced may be lost.

A journal records what a command does below a folder. At a cut, a file has the bytes of its last fsync, or any later
ones, or half of them, or zeros where they should be. An entry of a folder that was made, removed or renamed since the
folder's last fsync may or may not have changed, each by itself: no order of what was not synced is taken for granted. A
rename is one change, made sure by an fsync of the folder that it leads to.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crash import RENAMES, Crash, watched

ENTRIES = ("link", "unlink", "move")
"""Changes of a folder's entries."""


@dataclasses.dataclass(eq=False)
class Node:
    """A file with its bytes, or a folder with its entries, as they are now."""

    raw: bytes = b""
    entries: dict[str, Node] | None = None


class Journal(Crash):
    """What was done below a folder, in order: tuples of a kind of change, the node that it changes, and more.

    ``("raw", file, bytes)``, ``("link", folder, name, node)``, ``("unlink", folder, name, node)``,
    ``("move", to, name, node)`` and ``("sync", node)``.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.root, self.changes = Node(entries={}), list[tuple]()
        self._found(self.root, Path(self.folder))
        self.begun = len(self.changes)  # what was there before is safe

    def call(self, name: str, path: str, number: int | None = None) -> None:
        super().call(name, path, number)
        self._look()

    def made(self, name: str, path: str, to: str | None = None) -> None:
        if name == "fsync":
            if (node := self._node(path)) is not None:
                self.changes.append(("sync", node))
        elif name in RENAMES:
            self._moved(path, to)
        elif name in ("unlink", "remove", "rmdir"):
            folder, last = self._place(path)
            self.changes.append(("unlink", folder, last, folder.entries.pop(last)))
        elif name in ("open", "mkdir"):
            folder, last = self._place(path)
            if last not in folder.entries:
                folder.entries[last] = Node(entries={} if name == "mkdir" else None)
                self.changes.append(("link", folder, last, folder.entries[last]))
        self._look()

    def _moved(self, path: str, to: str) -> None:
        (folder, last), (above, name) = self._place(path), self._place(to)
        above.entries[name] = folder.entries.pop(last)
        self.changes.append(("move", above, name, above.entries[name]))

    def _found(self, folder: Node, path: Path) -> None:
        """Take what is there as written and synced."""
        for one in sorted(path.iterdir()):
            node = Node(entries={}) if one.is_dir() else Node(one.read_bytes())
            folder.entries[one.name] = node
            self.changes += [("link", folder, one.name, node), ("raw", node, node.raw), ("sync", node)]
            if one.is_dir():
                self._found(node, one)
        self.changes.append(("sync", folder))

    def _node(self, path: str) -> Node | None:
        """Return what is at a path; None where an open file has been removed."""
        node = self.root
        for part in Path(os.path.relpath(path, self.folder)).parts:
            node = node and node.entries.get(part)
        return node

    def _place(self, path: str) -> tuple[Node, str]:
        return self._node(os.path.dirname(path)), os.path.basename(path)

    def _look(self) -> None:
        """Note which files have other bytes than before: writes are not told one by one."""
        pending = [(self.root, Path(self.folder))]
        while pending:
            folder, path = pending.pop()
            for name, node in folder.entries.items():
                if node.entries is not None:
                    pending.append((node, path / name))
                elif (raw := (path / name).read_bytes()) != node.raw:
                    node.raw = raw
                    self.changes.append(("raw", node, raw))

    def cut(self, at: int, seed: int) -> dict[str, bytes | None]:
        """Return what may be there after a loss of power that follows the first `at` changes: bytes by path.

        Folders have None. Seed 0 loses all that was not synced, seed 1 nothing, and seed -n the n-th last entry alone.
        """
        draw = random.Random(seed)
        chance = draw.choice((0.2, 0.5, 0.8)) if seed > 1 else float(seed != 0)
        changes = self.changes[:at]
        synced = {change[1]: n for n, change in enumerate(changes) if change[0] == "sync"}
        folders: dict[Node, dict[str, Node]] = {self.root: {}}
        versions: dict[Node, list[bytes]] = {}
        unsure = [n for n, (kind, node, *_) in enumerate(changes) if kind in ENTRIES and n > synced.get(node, -1)]
        lost = unsure[seed] if -len(unsure) <= seed < 0 else None
        for n, (kind, node, *more) in enumerate(changes):
            safe = n < synced.get(node, -1)
            if kind == "raw":
                versions[node] = more if safe else [*versions.get(node, [b""]), *more]
            elif kind in ENTRIES and n != lost and (safe or draw.random() < chance):
                _change(folders, kind, node, *more)
        return dict(_files(folders, versions, self.root, "", chance, draw))


def _change(folders: dict[Node, dict[str, Node]], kind: str, folder: Node, name: str, node: Node) -> None:
    """Make one change of entries, as far as what came before it is there."""
    inner = folders.setdefault(folder, {})
    if kind == "unlink":
        if inner.get(name) is node:
            del inner[name]
        return
    for entries in folders.values() if kind == "move" else ():
        for other in [other for other, one in entries.items() if one is node]:
            del entries[other]
    inner[name] = node


def _files(folders: dict, versions: dict, folder: Node, above: str, chance: float, draw: random.Random) -> Any:
    """Yield paths below a folder and what is there."""
    for name, node in folders.get(folder, {}).items():
        path = above + name
        if node.entries is not None:
            yield path, None
            yield from _files(folders, versions, node, f"{path}/", chance, draw)
        else:
            yield path, _bytes(versions.get(node, [b""]), chance, draw)


def _bytes(versions: list[bytes], chance: float, draw: random.Random) -> bytes:
    """Return bytes that a file may have: those that were synced, which come first, or what became of later ones."""
    if len(versions) == 1 or draw.random() >= chance:
        return versions[0]
    if chance == 1:
        return versions[-1]
    old, new = versions[0], draw.choice(versions[1:])
    if len(new) <= len(old):
        return draw.choice((new, new[: len(new) // 2]))
    zeros = bytes(len(new) - len(old))
    return draw.choice((new, new[: (len(old) + len(new)) // 2], old + zeros))


def write(files: dict[str, bytes | None], folder: Path) -> None:
    """Write what `Journal.cut` returned into an empty folder."""
    for path, raw in files.items():
        if raw is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(raw)


def record(folder: Path, command: Callable[[], Any]) -> Journal:
    """Run a command in this process and return its journal, which has noticed all that it did."""
    with contextlib.chdir(folder), watched(Journal(folder)) as journal:  # `folder` itself may be in a relative path
        command()
    journal._look()
    there = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    told = {path: raw for path, raw in journal.cut(len(journal.changes), 1).items() if raw is not None}
    assert told == there, "the journal has missed a change"
    return journal
