"""Whether the launcher of this process is still there."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

DEEPSPEED = 'deepspeed.launcher.launch'
LAUNCHERS = (DEEPSPEED, 'torchrun', 'torch.distributed.run')


class Launcher:
    """The launcher's processes above this one.

    A launcher that is killed takes nothing along: `kill` ends the `deepspeed` command alone, and its ranks would train on unseen. A process
    that was started by hand has none above it but a shell, which may go.
    """

    def __init__(self) -> None:
        self._parents: list[tuple[int, int]] = []  # (process, its parent)
        parent = os.getppid()
        command = command_line(parent)
        if any(name in command for name in LAUNCHERS):
            self._parents.append((os.getpid(), parent))
            if DEEPSPEED in command:  # above it is the `deepspeed` command, or the shell of an ssh connection
                self._parents.append((parent, parent_of(parent)))

    def gone(self) -> bool:
        """Whether one of them has ended: its child has another parent now, or is no more."""
        return any(parent_of(process) != parent for process, parent in self._parents)


def command_line(process: int) -> str:
    """Its words, separated by spaces; empty when there is no such process."""
    with suppress(OSError):
        return Path(f'/proc/{process}/cmdline').read_text(encoding='utf8', errors='replace').replace('\0', ' ')
    return ''


def parent_of(process: int) -> int:
    """Process id of the parent; 0 when there is no such process."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f'/proc/{process}/stat').read_text(encoding='utf8', errors='replace').rpartition(')')[2].split()[1])
    return 0
